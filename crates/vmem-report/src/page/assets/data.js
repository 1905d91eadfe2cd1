// Reading what the page carries.

const $ = id => document.getElementById(id);
const about = JSON.parse($('description').textContent);

/** The series, inflated. */
async function inflated() {
  const element = $('series');
  const packed = Uint8Array.from(atob(element.textContent), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const buffer = await new Response(stream).arrayBuffer();
  element.remove();
  const split = Number(element.dataset.bytesAt);
  return { numbers: new Float64Array(buffer, 0, split / 8), bytes: new Uint8Array(buffer, split) };
}

/** The largest of each 1, 2, 4, … neighbours, so that any part is drawn in as many steps as pixels. */
function largest(series) {
  const levels = [series];
  for (let below = series; below.length > 1;) {
    const above = new Float64Array(Math.ceil(below.length / 2));
    for (let i = 0; i < above.length; i++) {
      above[i] = Math.max(below[2 * i], below[Math.min(2 * i + 1, below.length - 1)]);
    }
    levels.push(above);
    below = above;
  }
  return levels;
}

/** The place of the largest of each 1, 2, 4, … neighbours. */
function whereLargest(series) {
  const levels = [Int32Array.from(series, (_, i) => i)];
  for (let below = levels[0]; below.length > 1;) {
    const above = new Int32Array(Math.ceil(below.length / 2));
    for (let i = 0; i < above.length; i++) {
      const [a, b] = [below[2 * i], below[Math.min(2 * i + 1, below.length - 1)]];
      above[i] = series[b] > series[a] ? b : a;
    }
    levels.push(above);
    below = above;
  }
  return levels;
}

/** What is largest in the buckets from `from` to before `to`, by a few look-ups. */
function mostIn(levels, from, to) {
  const level = Math.max(0, Math.min(levels.length - 1, Math.floor(Math.log2(Math.max(1, to - from)))));
  const [first, last] = [from >> level, Math.min(levels[level].length - 1, (to - 1) >> level)];
  let most = 0;
  for (let i = first; i <= last; i++) most = Math.max(most, levels[level][i]);
  return most;
}

/** The bucket of `series` that is largest in such a part. */
function placeOfMostIn(levels, series, from, to) {
  const level = Math.max(0, Math.min(levels.length - 1, Math.floor(Math.log2(Math.max(1, to - from)))));
  const [first, last] = [from >> level, Math.min(levels[level].length - 1, (to - 1) >> level)];
  let best = levels[level][first];
  for (let i = first + 1; i <= last; i++) {
    if (series[levels[level][i]] > series[best]) best = levels[level][i];
  }
  return best;
}

/** Frames with their ranges: start and end on the axis, and kind. */
function framesOf(stack, bytes) {
  const frames = [];
  let at = stack.ranges;
  const variable = () => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  };
  for (let f = 0; f < stack.frames; f++) {
    const count = variable();
    const [start, end, kind] = [new Float64Array(count), new Float64Array(count), new Uint8Array(count)];
    for (let i = 0, place = 0; i < count; i++) {
      start[i] = place + variable() * stack.unit;
      end[i] = place = start[i] + variable() * stack.unit;
      kind[i] = bytes[at++];
    }
    frames.push({ start, end, kind });
  }
  return frames;
}

/** An amount of memory to four digits at most. */
function shown(bytes) {
  for (const [unit, one] of [['TiB', 2 ** 40], ['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 1024]]) {
    if (bytes >= one) {
      const whole = bytes / one;
      return `${whole.toFixed(whole < 10 ? 3 : whole < 100 ? 2 : whole < 1000 ? 1 : 0)} ${unit}`;
    }
  }
  return `${bytes} B`;
}

/** A number with its thousands apart. */
const grouped = number => Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, '\u202f');

/** An element with these properties and children. */
function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** An amount, as the tables have it. */
const amount = bytes => element('data', { value: String(bytes), title: `${bytes} B` }, shown(bytes));
