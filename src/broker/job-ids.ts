import { idDigits, idLength } from "../protocol/control.ts";

/**
 * The name of a job for everybody: 16 characters of `a` to `z` and `2` to `7`. The first ones are
 * its router's, by chance, so that no id of an earlier router comes again; the others are the job's
 * number.
 */
export class JobIds {
  #prefix = "";
  /** Ids of jobs of earlier routers, by their numbers here, and the other way. */
  readonly #adopted = new Map<number, string>();
  readonly #numbers = new Map<string, number>();

  /** @param random 0 ≤ random() < 1 */
  constructor(private readonly random: () => number) {}

  /** A job of an earlier router keeps its id. */
  adopt(number: number, id: string): void {
    this.#adopted.set(number, id);
    this.#numbers.set(id, number);
  }

  idOf(number: number): string {
    const adopted = this.#adopted.size === 0 ? undefined : this.#adopted.get(number);
    if (adopted !== undefined) return adopted;
    if (this.#prefix === "") {
      const digit = (): string => idDigits[Math.floor(this.random() * idDigits.length)] ?? "a";
      this.#prefix = Array.from({ length: idLength - numberLength }, digit).join("");
    }
    const digits = number.toString(idDigits.length).padStart(numberLength, "0");
    return this.#prefix + Array.from(digits, (digit) => idDigits[Number.parseInt(digit, idDigits.length)]).join("");
  }

  /** The number of a job that this router knows by its id; null for any other text. */
  numberOf(id: string): number | null {
    const adopted = this.#numbers.get(id);
    if (adopted !== undefined) return adopted;
    if (id.length !== idLength || this.#prefix === "" || !id.startsWith(this.#prefix)) return null;
    let number = 0;
    for (const character of id.slice(this.#prefix.length)) {
      const digit = idDigits.indexOf(character);
      if (digit < 0) return null;
      number = number * idDigits.length + digit;
    }
    return number;
  }
}

/** digits of a job's number, which has up to 53 bits. */
const numberLength = 11;
