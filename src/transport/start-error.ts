/**
 * A start that failed for a reason that a person can mend; `message` is one line for that person.
 */
export class StartError extends Error {
  override readonly name = "StartError";
}
