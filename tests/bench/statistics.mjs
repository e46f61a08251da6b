// What is said of repeated measurements.

/** The value below which `share` of the values lie. */
export const quantile = (values, share) => values.toSorted((a, b) => a - b)[Math.round(share * (values.length - 1))];

export const median = (values) => quantile(values, 0.5);
