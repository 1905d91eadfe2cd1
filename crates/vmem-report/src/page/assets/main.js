// Putting it together.

async function main() {
  const { numbers, bytes } = await inflated();
  const series = (at, count) => numbers.subarray(at, at + count);
  const most = series(about.most, about.buckets);
  const data = {
    numbers,
    most: largest(most),
    whereMost: whereLargest(most),
    least: series(about.least, about.buckets),
    // What nobody knows is null, and is not drawn.
    reserved: about.stacks.map(stack =>
      stack.reserved === null ? null : largest(series(stack.reserved, about.buckets))),
    calls: about.stacks.map(stack => largest(series(stack.calls, about.buckets))),
    moved: about.stacks.map(stack => largest(series(stack.moved, about.buckets))),
    frames: about.stacks.map(stack => {
      const frames = framesOf(stack, bytes);
      const kinds = series(stack.bytes, 6 * stack.frames);
      return {
        frames,
        index: series(stack.index, stack.frames),
        bytes: kinds,
        free: Float64Array.from({ length: stack.frames }, (_, f) => kinds[6 * f] + kinds[6 * f + 1] + kinds[6 * f + 2]),
        largest: series(stack.largest, stack.frames),
        served: stack.served === null ? null : series(stack.served, stack.frames),
        cells: mapOf(stack, frames),
      };
    }),
  };
  $('charts').hidden = false;
  readAddress();
  readColours();
  about.stacks.forEach((_, i) => {
    redraws.push(() => drawStrip(data, i));
    listenStrip(data, i);
  });
  if (about.moment) view.grouping = about.telling;
  else follow(data);
  drawLegend();
  const again = () => {
    readColours();
    drawLegend();
    redraw();
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  addEventListener('resize', redraw);
  addEventListener('scroll', redraw, { passive: true });
  addEventListener('hashchange', () => {
    readAddress();
    if (!about.moment) drawGroupings();
    again();
  });
  themes(again);
  for (const draw of redraws) draw();
  document.documentElement.dataset.ready = 'yes';
}

/** What is drawn over time. */
function follow(data) {
  drawGroupings();
  redraws.push(() => drawLive(data), () => drawOverview(data), () => drawMoment(data));
  about.stacks.forEach((_, i) => {
    redraws.push(() => drawSpace(data, i), () => drawFree(data, i), () => drawCalls(data, i));
    for (const id of ['space', 'free', 'calls']) listen($(`${id}-${i}`));
  });
  listen($('live'));
  listenOverview($('overview'));
  document.addEventListener('keydown', e => {
    if (e.metaKey || e.ctrlKey || e.altKey || e.target.closest('input, textarea')) return;
    const key = keys[e.key];
    if (!key) return;
    e.preventDefault();
    key(e);
  });
  // What is drawn, for those who want to check it.
  const drawn = $('live').dataset;
  drawn.mostLive = String(mostIn(data.most, 0, about.buckets));
  about.stacks.forEach((stack, i) => {
    const { dataset } = $(`space-${i}`);
    if (data.reserved[i]) dataset.mostReserved = String(mostIn(data.reserved[i], 0, about.buckets));
    dataset.frames = String(stack.frames);
  });
}

function listenStrip(data, i) {
  const canvas = $(`strip-${i}`);
  canvas.addEventListener('pointermove', e => {
    const box = canvas.getBoundingClientRect();
    const share = (e.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    $(`strip-caption-${i}`).textContent = placeInWords(data, i, share * about.stacks[i].length);
  });
}

/** Light, dark, or as the system has it. */
function themes(again) {
  const button = element('button', { type: 'button', id: 'theme' });
  const root = document.documentElement;
  const names = ['', 'light', 'dark'];
  const say = () => (button.textContent = `theme: ${root.dataset.theme || 'system'}`);
  button.addEventListener('click', () => {
    root.dataset.theme = names[(names.indexOf(root.dataset.theme ?? '') + 1) % 3];
    say();
    again();
    writeAddress();
  });
  say();
  document.querySelector('header').append(button);
}

main().catch(error => {
  document.documentElement.dataset.ready = 'no';
  document.querySelector('header').append(element('p', { className: 'bad' }, `The charts cannot be drawn: ${error}`));
});
