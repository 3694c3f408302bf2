import type { ChildProcess, Serializable } from "node:child_process";

/** Sends a question to a process of the bench and waits for its one answer; rejects when the process ends instead. */
export function ask<Answer>(child: ChildProcess, question: Serializable): Promise<Answer> {
  const answer = answerOf<Answer>(child);
  child.send(question);
  return answer;
}

/** The next message of the process. Both ends are files of this folder, so its type is taken on trust. */
export function answerOf<Answer>(child: ChildProcess): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null, signal: string | null): void => {
      child.off("message", answered);
      reject(new Error(`a process of the bench ended (${signal ?? code}) instead of answering`));
    };
    const answered = (message: unknown): void => {
      child.off("exit", ended);
      resolve(message as Answer);
    };
    child.once("message", answered);
    child.once("exit", ended);
  });
}
