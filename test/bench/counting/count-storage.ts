import { noUnits } from "./units.ts";

/** Counted since the isolate started. */
export const units = noUnits();

type Prototype = Record<string, unknown>;
type Call = (this: unknown, ...given: unknown[]) => unknown;
type Cursor = { readonly rowsRead: number; readonly rowsWritten: number };

/** Cursors that may not have been read to their end. */
let unread: Cursor[] = [];
let isCounting = false;

/** Has the storage of all objects count from now on; the first object that is called brings the prototypes along. */
export function countStorage(storage: DurableObjectStorage): void {
  if (isCounting) return;
  isCounting = true;
  around(prototypeOf(storage.sql), "exec", (cursor) => countCursor(cursor as Cursor));
  for (const keyValue of [prototypeOf(storage.kv), prototypeOf(storage)]) {
    for (const name of ["put", "delete", "setAlarm"]) around(keyValue, name, () => units.objectRowsWritten++);
    for (const name of ["get", "getAlarm"]) around(keyValue, name, () => units.objectRowsRead++);
  }
}

/** Cursors are read to their end in the turn they are made in; what they cost is known after it. */
function countCursor(cursor: Cursor): void {
  if (unread.push(cursor) > 1) return;
  queueMicrotask(() => {
    for (const { rowsRead, rowsWritten } of unread) {
      units.objectRowsRead += rowsRead;
      units.objectRowsWritten += rowsWritten;
    }
    unread = [];
  });
}

function around(prototype: Prototype, name: string, count: (result: unknown) => void): void {
  const method = prototype[name];
  if (typeof method !== "function") return;
  const call = method as Call;
  prototype[name] = function (this: unknown, ...given: unknown[]): unknown {
    const result = call.apply(this, given);
    count(result);
    return result;
  };
}

function prototypeOf(value: object): Prototype {
  return Object.getPrototypeOf(value) as Prototype;
}
