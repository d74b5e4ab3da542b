import { TaskEngineError } from "../../src/protocol/errors.ts";

/** The TaskEngineError that a promise rejects with; anything else fails the test. */
export const rejection = async (promise: Promise<unknown>): Promise<TaskEngineError> => {
  try {
    await promise;
  } catch (error) {
    if (error instanceof TaskEngineError) return error;
    throw error;
  }
  throw new Error("it did not reject");
};
