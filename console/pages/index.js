// The pages, in the order of the menu. Each is one file; `name` is its place in the address.
/** @type {{ name: string, page: any }[]} */
export const pages = [];
