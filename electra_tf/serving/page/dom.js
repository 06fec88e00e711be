// Elements out of plain text. Nothing here or elsewhere reads text as markup:
// strings become text nodes, whatever stands in them.

/**
 * An element.
 * @param {string} tag
 * @param {Object} attributes on* are listeners; true, false and null set,
 *   leave out and leave out; everything else becomes an attribute.
 * @param {...(Node|string|number|null)} children null is left out.
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(`${child}`);
}

/** Puts these children in the place of all there were. */
export function refill(node, ...children) {
  node.replaceChildren(
    ...children.filter((child) => child != null).map(asNode),
  );
}

let made = 0;

/** An id that no other element of the page has. */
export function freshId(stem) {
  made += 1;
  return `${stem}-${made}`;
}
