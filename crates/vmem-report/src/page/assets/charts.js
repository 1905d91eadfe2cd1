// Plots over the trace's events.

const MARGIN = { left: 66, right: 12, top: 8, bottom: 22 };
let colours = {};

/** The colours as the style has them now. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const of = name => style.getPropertyValue(name).trim();
  const list = (prefix, count) => Array.from({ length: count }, (_, i) => of(`--${prefix}-${i}`));
  colours = {
    ink: of('--ink'), faint: of('--faint'), grid: of('--grid'), paper: of('--paper'), bad: of('--bad'),
    turn: (colours.turn ?? 0) + 1, groups: list('group', 12), stacks: list('stack', 8), kinds: list('kind', 5),
  };
}

const bases = new Map();

/**
 * A plot whose picture is drawn again only when something else is shown; what is over it, such as the
 * moment pointed at, each time.
 */
function layered(id, height, base, over) {
  const box = $(id).getBoundingClientRect();
  // What cannot be seen is drawn once it comes near.
  if (box.height > 0 && (box.bottom < -300 || box.top > innerHeight + 300) && bases.has(id)) return;
  const p = plot(id, height);
  const shown = [view.from, view.to, view.grouping, p.canvas.width, p.canvas.height, colours.turn].join();
  let kept = bases.get(id);
  if (kept?.shown !== shown) {
    base(p);
    kept ??= { picture: document.createElement('canvas') };
    [kept.shown, kept.picture.width, kept.picture.height] = [shown, p.canvas.width, p.canvas.height];
    kept.picture.getContext('2d').drawImage(p.canvas, 0, 0);
    bases.set(id, kept);
  } else {
    p.context.drawImage(kept.picture, 0, 0, p.width, p.height);
  }
  over(p);
}

/** A canvas of the width it has on the page, in the screen's own pixels. */
function plot(id, height) {
  const canvas = $(id);
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 800;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '12px system-ui, sans-serif';
  const box = {
    left: MARGIN.left, top: MARGIN.top, right: width - MARGIN.right, bottom: height - MARGIN.bottom,
  };
  return { canvas, context, width, height, ratio, ...box, columns: Math.max(1, Math.floor(box.right - box.left)) };
}

/** The buckets of one column of pixels: from, and before which. */
function bucketsOf(p, column) {
  const events = (view.to - view.from) / p.columns;
  const from = bucketOf(view.from + column * events);
  return [from, Math.max(from + 1, bucketOf(view.from + (column + 1) * events))];
}

/** Steps that people count in. */
function ticks(most, binary) {
  const unit = binary ? 2 ** (10 * Math.floor(Math.log2(Math.max(1, most)) / 10)) : 1;
  const scale = 10 ** Math.floor(Math.log10(most / unit / 2 || 1));
  const step = [1, 2, 2.5, 5, 10].map(n => n * scale).find(n => most / unit / n <= 4) ?? scale * 10;
  const marks = [];
  for (let mark = 0; mark <= most / unit + 1e-9; mark += step) marks.push(mark * unit);
  return marks;
}

function short(bytes) {
  for (const [unit, one] of [['T', 2 ** 40], ['G', 2 ** 30], ['M', 2 ** 20], ['K', 1024]]) {
    if (bytes >= one) return `${+(bytes / one).toFixed(2)} ${unit}iB`;
  }
  return `${bytes} B`;
}

/** The frame of a plot: what its heights mean, and where in the trace it is. */
function axes(p, most, label, binary) {
  const { context: c } = p;
  c.strokeStyle = colours.grid;
  c.fillStyle = colours.faint;
  c.lineWidth = 1;
  c.textAlign = 'right';
  c.textBaseline = 'middle';
  for (const mark of ticks(most, binary)) {
    const y = Math.round(p.bottom - (mark / most) * (p.bottom - p.top)) + 0.5;
    if (y < p.top) continue;
    c.beginPath();
    c.moveTo(p.left, y);
    c.lineTo(p.right, y);
    c.stroke();
    c.fillText(label(mark), p.left - 6, y);
  }
  timeAxis(p);
}

function timeAxis(p) {
  const { context: c } = p;
  c.fillStyle = colours.faint;
  c.textBaseline = 'top';
  c.textAlign = 'center';
  const span = view.to - view.from;
  const least = span / Math.max(2, p.columns / 110);
  const scale = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  const step = [1, 2, 5, 10].map(n => n * scale).find(n => n >= least) ?? scale * 10;
  for (let mark = Math.ceil(view.from / step) * step; mark <= view.to; mark += step) {
    const x = across(p, mark);
    if (x > p.right - 14) break;
    c.fillText(grouped(mark), x, p.bottom + 6);
  }
}

const across = (p, event) => p.left + ((event - view.from) / (view.to - view.from)) * (p.right - p.left);

/** The moment pointed at, a part being chosen, and failures of the log. */
function marks(p) {
  const { context: c } = p;
  if (view.brush) {
    c.globalAlpha = 0.18;
    c.fillStyle = colours.ink;
    const [a, b] = view.brush.map(event => across(p, event));
    c.fillRect(Math.min(a, b), p.top, Math.abs(b - a), p.bottom - p.top);
    c.globalAlpha = 1;
  }
  if (view.at >= view.from && view.at <= view.to) {
    const x = Math.round(across(p, view.at + 0.5)) + 0.5;
    c.strokeStyle = colours.ink;
    c.setLineDash([3, 3]);
    c.beginPath();
    c.moveTo(x, p.top);
    c.lineTo(x, p.bottom);
    c.stroke();
    c.setLineDash([]);
  }
}

function failureMarks(p) {
  const { context: c } = p;
  c.fillStyle = colours.bad;
  const refused = about.stacks.map(stack => stack.refused).filter(index => index !== null);
  for (const event of [...about.failures, ...refused]) {
    if (event < view.from || event > view.to) continue;
    const x = across(p, event + 0.5);
    c.beginPath();
    c.moveTo(x - 4, p.top);
    c.lineTo(x + 4, p.top);
    c.lineTo(x, p.top + 8);
    c.fill();
  }
}

/** A line of the largest value of each column; it ends where the stack refused. */
function line(p, levels, most, colour, until) {
  const { context: c } = p;
  c.strokeStyle = colour;
  c.lineWidth = 1.8;
  c.beginPath();
  for (let column = 0; column < p.columns; column++) {
    const [from, to] = bucketsOf(p, column);
    if (until !== null && from > bucketOf(until)) break;
    const y = p.bottom - (mostIn(levels, from, to) / most) * (p.bottom - p.top);
    if (column === 0) c.moveTo(p.left, y);
    else c.lineTo(p.left + column, y);
    c.lineTo(p.left + column + 1, y);
  }
  c.stroke();
}

/** Live bytes, stacked by group, under what each stack holds. */
function drawLive(data) {
  layered('live', innerHeight > 700 ? 300 : 220, p => liveBase(p, data), marks);
}

function liveBase(p, data) {
  const { context: c } = p;
  const most = Math.max(1, ...data.reserved.filter(Boolean).map(levels => mostIn(levels, ...bucketsIn())), mostIn(data.most, ...bucketsIn())) * 1.04;
  axes(p, most, short, true);
  const grouping = about.groupings[view.grouping];
  const groups = grouping.names.length;
  const tops = new Float64Array(p.columns);
  const places = Array.from({ length: p.columns }, (_, column) =>
    placeOfMostIn(data.whereMost, data.most[0], ...bucketsOf(p, column)));
  const height = p.bottom - p.top;
  for (let group = 0; group < groups; group++) {
    c.fillStyle = colours.groups[group % 12];
    c.beginPath();
    c.moveTo(p.left, p.bottom - (tops[0] / most) * height);
    const under = Float64Array.from(tops);
    for (let column = 0; column < p.columns; column++) {
      tops[column] += data.numbers[grouping.at + places[column] * groups + group];
      const y = p.bottom - (tops[column] / most) * height;
      c.lineTo(p.left + column, y);
      c.lineTo(p.left + column + 1, y);
    }
    for (let column = p.columns - 1; column >= 0; column--) {
      const y = p.bottom - (under[column] / most) * height;
      c.lineTo(p.left + column + 1, y);
      c.lineTo(p.left + column, y);
    }
    c.fill();
  }
  // The first stack is the one that is asked about: on top.
  for (let i = about.stacks.length - 1; i >= 0; i--) {
    if (data.reserved[i]) line(p, data.reserved[i], most, colours.stacks[i % colours.stacks.length], about.stacks[i].refused);
  }
  failureMarks(p);
}

/** The buckets that are shown. */
const bucketsIn = () => [bucketOf(view.from), bucketOf(view.to - 1) + 1];

/** All of the trace, with the part that is shown; drag it. */
function drawOverview(data) {
  const p = plot('overview', 40);
  const { context: c } = p;
  p.bottom = 36;
  p.top = 2;
  const most = mostIn(data.most, 0, about.buckets) || 1;
  c.fillStyle = colours.grid;
  for (let column = 0; column < p.columns; column++) {
    const from = Math.floor((column * about.buckets) / p.columns);
    const to = Math.max(from + 1, Math.floor(((column + 1) * about.buckets) / p.columns));
    const height = (mostIn(data.most, from, to) / most) * (p.bottom - p.top);
    c.fillRect(p.left + column, p.bottom - height, 1, height);
  }
  const x = event => p.left + (event / Math.max(1, about.events)) * p.columns;
  c.globalAlpha = 0.16;
  c.fillStyle = colours.ink;
  c.fillRect(x(view.from), p.top, Math.max(2, x(view.to) - x(view.from)), p.bottom - p.top);
  c.globalAlpha = 1;
  c.strokeStyle = colours.faint;
  c.strokeRect(x(view.from) + 0.5, p.top + 0.5, Math.max(2, x(view.to) - x(view.from)) - 1, p.bottom - p.top - 1);
}

/** Dragging in the overview moves the part that is shown. */
function listenOverview(canvas) {
  let grip = null;
  const eventAt = e => {
    const box = canvas.getBoundingClientRect();
    return ((e.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right)) * about.events;
  };
  canvas.addEventListener('pointerdown', e => {
    canvas.setPointerCapture(e.pointerId);
    const [here, span] = [eventAt(e), view.to - view.from];
    if (here < view.from || here > view.to) show(here - span / 2, here + span / 2);
    grip = here - view.from;
  });
  canvas.addEventListener('pointermove', e => {
    if (grip === null) return;
    const [from, span] = [eventAt(e) - grip, view.to - view.from];
    show(from, from + span);
  });
  for (const end of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(end, () => {
      grip = null;
      writeAddress();
    });
  }
  canvas.addEventListener('dblclick', all);
}

/** The number of the last frame at or before an event. */
function frameAt(frames, event) {
  let [low, high] = [0, frames.index.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames.index[middle] <= event) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Free bytes, and the largest free block in them: what lies between is fragmentation. */
function drawFree(data, i) {
  layered(`free-${i}`, 110, p => freeBase(p, data, i), marks);
}

function freeBase(p, data, i) {
  const { context: c } = p;
  const frames = data.frames[i];
  const [first, last] = [Math.max(0, frameAt(frames, view.from)), frameAt(frames, view.to)];
  let most = 1;
  for (let f = first; f <= last; f++) most = Math.max(most, frames.free[f]);
  most *= 1.05;
  axes(p, most, short, true);
  const height = p.bottom - p.top;
  const area = (values, colour, alpha) => {
    c.fillStyle = colour;
    c.globalAlpha = alpha;
    for (let column = 0; column < p.columns; column++) {
      const event = view.from + ((column + 1) * (view.to - view.from)) / p.columns;
      const f = frameAt(frames, event);
      if (f < 0 || (about.stacks[i].refused !== null && event > about.stacks[i].refused + (view.to - view.from) / p.columns)) continue;
      const tall = (values[f] / most) * height;
      c.fillRect(p.left + column, p.bottom - tall, 1, tall);
    }
    c.globalAlpha = 1;
  };
  area(frames.free, colours.kinds[0], 0.9);
  area(frames.largest, colours.stacks[i % colours.stacks.length], 0.75);
}

/** Driver calls upwards; under them, where memory moved. */
function drawCalls(data, i) {
  layered(`calls-${i}`, 90, p => callsBase(p, data, i), marks);
}

function callsBase(p, data, i) {
  const { context: c } = p;
  const perBucket = Math.max(1, about.events / about.buckets);
  const most = Math.max(1, mostIn(data.calls[i], ...bucketsIn())) * 1.05;
  axes(p, most, mark => (Number.isInteger(mark) ? grouped(mark) : ''), false);
  const movedMost = Math.max(1, mostIn(data.moved[i], 0, about.buckets));
  for (let column = 0; column < p.columns; column++) {
    const [from, to] = bucketsOf(p, column);
    const tall = (mostIn(data.calls[i], from, to) / most) * (p.bottom - p.top);
    c.fillStyle = colours.stacks[i % colours.stacks.length];
    c.fillRect(p.left + column, p.bottom - tall, 1, tall);
    const moved = mostIn(data.moved[i], from, to);
    if (moved > 0) {
      c.fillStyle = colours.bad;
      const deep = 3 + 12 * (moved / movedMost);
      c.fillRect(p.left + column, p.top, 1.5, deep);
    }
  }
  c.fillStyle = colours.faint;
  c.textAlign = 'right';
  c.textBaseline = 'top';
  c.fillText(perBucket > 1 ? `calls in ${grouped(perBucket)} events` : 'calls of an event', p.right, p.top);
}
