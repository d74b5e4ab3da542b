export const late: unique symbol = Symbol("late");

/** Resolves as `promise` does, or with `late` after `ms`. */
export const within = async <T>(promise: Promise<T>, ms: number): Promise<T | typeof late> => {
  const { promise: timeout, resolve } = Promise.withResolvers<typeof late>();
  const timer = setTimeout(() => resolve(late), ms);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
};
