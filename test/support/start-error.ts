import { StartError } from "../../src/transport/start-error.ts";

/** The one line with which `start` failed, as a person reads it; anything but a StartError of one line fails the test. */
export const startErrorOf = async (start: () => unknown): Promise<string> => {
  try {
    await start();
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    if (error.message.includes("\n")) throw new Error(`more than one line: ${error.message}`);
    return error.message;
  }
  throw new Error("it started");
};
