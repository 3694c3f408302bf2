/** `npm run bench:readme -- FILE`: writes a report's tables into README.md and its chart beside the bench. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { renderPicture, renderSection, withSection } from "./readme-section.ts";
import type { Report } from "./report.ts";

const PICTURE = "test/bench/latency-over-load.svg";
const README = fileURLToPath(new URL("../../README.md", import.meta.url));

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error("npm run bench:readme -- FILE, where `npm run bench -- --json FILE` wrote it");
  process.exit(2);
}
const report = JSON.parse(readFileSync(path, "utf8")) as Report;
const section = renderSection(report, PICTURE);
const picture = renderPicture(report);
if (picture !== null) writeFileSync(new URL("latency-over-load.svg", import.meta.url), picture);
writeFileSync(README, withSection(readFileSync(README, "utf8"), section));
console.info(section);
