export const late: unique symbol = Symbol("late");

/** What `promise` gives, or `late` if it has not given it after `ms`. The timer does not outlive the answer. */
export const within = async <T>(promise: Promise<T>, ms: number): Promise<T | typeof late> => {
  const { promise: timeout, resolve } = Promise.withResolvers<typeof late>();
  const timer = setTimeout(() => resolve(late), ms);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
};
