// Where characters are: the server counts code points, JavaScript counts
// UTF-16 units, and an emoji is one of the former and two of the latter.

/** A text cut by offsets in code points. */
export class Characters {
  constructor(text) {
    this.text = text;
    this.units = hasPairs(text) ? unitOffsets(text) : null;
  }

  /** The UTF-16 offset of a character, kept inside the text. */
  unit(character) {
    const last = this.units ? this.units.length - 1 : this.text.length;
    const inside = Math.min(Math.max(character, 0), last);
    return this.units ? this.units[inside] : inside;
  }

  /** The characters from start to end, end excluded. */
  slice(start, end) {
    return this.text.slice(this.unit(start), this.unit(end));
  }
}

function hasPairs(text) {
  return /[\ud800-\udbff][\udc00-\udfff]/.test(text);
}

/** [characters + 1] UTF-16 offsets, the text's end the last. */
function unitOffsets(text) {
  const offsets = [];
  let unit = 0;
  for (const character of text) {
    offsets.push(unit);
    unit += character.length;
  }
  offsets.push(unit);
  return offsets;
}
