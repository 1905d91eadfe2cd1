// Which part of the trace is shown, and the moment pointed at.

const view = { from: 0, to: Math.max(1, about.events), at: about.peak, grouping: about.telling };
const redraws = [];
let wanted = false;

/** Draws everything once the browser is ready for it. */
function redraw() {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    const begin = performance.now();
    for (const draw of redraws) draw();
    document.documentElement.dataset.drawn = (performance.now() - begin).toFixed(1);
  });
}

/** Shows a part of the trace, at least a few events of it. */
function show(from, to) {
  const least = Math.min(8, about.events || 1);
  const span = Math.min(Math.max(to - from, least), Math.max(1, about.events));
  view.from = Math.min(Math.max(0, from), Math.max(1, about.events) - span);
  view.to = view.from + span;
  redraw();
}

function point(at) {
  view.at = Math.round(Math.min(Math.max(0, at), Math.max(0, about.events - 1)));
  redraw();
}

const all = () => show(0, about.events);

function zoom(factor, around) {
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

/** The bucket of an event. */
const bucketOf = event =>
  Math.min(about.buckets - 1, Math.max(0, Math.floor((event * about.buckets) / Math.max(1, about.events))));

/** The address after `#` says what is shown, so that it can be kept and sent. */
function readAddress() {
  const wants = new URLSearchParams(location.hash.slice(1));
  const number = name => (wants.has(name) && Number.isFinite(+wants.get(name)) ? +wants.get(name) : null);
  if (wants.has('theme')) document.documentElement.dataset.theme = wants.get('theme');
  const by = about.groupings.findIndex(grouping => grouping.title === wants.get('by'));
  if (by >= 0) view.grouping = by;
  show(number('from') ?? 0, number('to') ?? about.events);
  point(number('at') ?? view.at);
}

function writeAddress() {
  const wants = new URLSearchParams();
  const theme = document.documentElement.dataset.theme;
  if (theme) wants.set('theme', theme);
  wants.set('by', about.groupings[view.grouping].title);
  if (view.from > 0 || view.to < about.events) {
    wants.set('from', Math.floor(view.from));
    wants.set('to', Math.ceil(view.to));
  }
  wants.set('at', view.at);
  try {
    history.replaceState(null, '', `#${wants}`);
  } catch {
    // A page in a frame may not; nothing depends on it.
  }
}

/** Pointing, dragging a part, the wheel and keys, the same on every plot. */
function listen(canvas) {
  let start = null;
  const eventAt = e => {
    const box = canvas.getBoundingClientRect();
    const share = (e.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    return view.from + Math.min(1, Math.max(0, share)) * (view.to - view.from);
  };
  canvas.addEventListener('pointerdown', e => {
    if (e.button !== 0) return;
    canvas.setPointerCapture(e.pointerId);
    start = { event: eventAt(e), x: e.clientX };
  });
  canvas.addEventListener('pointermove', e => {
    const here = eventAt(e);
    view.brush = start && Math.abs(e.clientX - start.x) > 4 ? [start.event, here] : null;
    point(here);
  });
  canvas.addEventListener('pointerup', () => {
    const brush = view.brush;
    start = view.brush = null;
    if (brush) show(Math.min(...brush), Math.max(...brush));
    redraw();
    writeAddress();
  });
  canvas.addEventListener('pointercancel', () => (start = view.brush = null));
  canvas.addEventListener('dblclick', all);
  canvas.addEventListener('wheel', e => {
    if (!e.deltaY || e.ctrlKey) return;
    e.preventDefault();
    zoom(e.deltaY > 0 ? 1.25 : 0.8, eventAt(e));
  }, { passive: false });
}

const keys = {
  '+': () => zoom(0.5, view.at),
  '=': () => zoom(0.5, view.at),
  '-': () => zoom(2, view.at),
  '0': all,
  ArrowLeft: e => step(e.shiftKey ? -10 : -1),
  ArrowRight: e => step(e.shiftKey ? 10 : 1),
};

/** Moves the moment by so many pixels' worth of events, at least one each. */
function step(by) {
  const pixel = Math.max(1, (view.to - view.from) / 800);
  point(view.at + by * pixel);
  const span = view.to - view.from;
  if (view.at < view.from) show(view.at, view.at + span);
  if (view.at > view.to) show(view.at - span, view.at);
}
