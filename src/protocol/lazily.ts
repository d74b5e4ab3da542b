/**
 * What is made when it is first asked for. To make a schema takes longer than to check by it, and most of them most processes never
 * need: what is plain is recognized without.
 */
export const lazily = <Made>(make: () => Made): (() => Made) => {
  let made: { readonly it: Made } | undefined;
  return () => {
    made ??= { it: make() };
    return made.it;
  };
};
