// The moment pointed at, in words and numbers.

/** A swatch of a colour. */
const swatch = colour => {
  const made = element('i', { className: 'swatch' });
  made.style.background = colour;
  return made;
};

function drawMoment(data) {
  const bucket = bucketOf(view.at);
  const grouping = about.groupings[view.grouping];
  const live = data.most[0][bucket];
  const least = data.least[bucket];
  const head = element('p', {}, `Event ${grouped(view.at)}: `, amount(live), ' live');
  if (least !== live) head.append(', at least ', amount(least), ' in the events drawn as one');
  const groups = grouping.names
    .map((name, group) => ({ name, group, bytes: data.numbers[grouping.at + bucket * grouping.names.length + group] }))
    .filter(({ bytes }) => bytes > 0)
    .sort((a, b) => b.bytes - a.bytes);
  const list = element('ul', { className: 'groups' }, ...groups.map(({ name, group, bytes }) =>
    element('li', { title: name }, swatch(colours.groups[group % 12]), element('span', {}, name), amount(bytes))));
  $('moment').replaceChildren(head, list, stacksAt(data, bucket));
}

function stacksAt(data, bucket) {
  const heads = ['Stack', 'Reserved', 'Free', 'Pending', 'Mapped elsewhere', 'Largest free block', 'Served without more memory'];
  const rows = about.stacks.map((stack, i) => {
    const frames = data.frames[i];
    const f = frameAt(frames, view.at);
    const over = stack.refused !== null && view.at > stack.refused;
    const cells = f < 0 || over
      ? [element('td', { colSpan: 6 }, over ? 'had refused a request before' : 'not looked at yet')]
      : data.reserved[i] === null ? [element('td', { colSpan: 6 }, 'what it holds is not known')]
      : [
        amount(data.reserved[i][0][bucket]), amount(frames.bytes[6 * f]), amount(frames.bytes[6 * f + 1]),
        amount(frames.bytes[6 * f + 3]), amount(frames.largest[f]),
        frames.served ? amount(frames.served[f]) : '–',
      ].map(cell => element('td', {}, cell));
    const row = element('tr', {}, element('th', {}, stack.name), ...cells);
    row.dataset.stack = stack.name;
    if (f >= 0 && !over) {
      $(`strip-caption-${i}`).textContent = stripCaption(frames, f);
    } else {
      $(`strip-caption-${i}`).textContent = over ? 'Addresses from low to high, when a request was refused' : '';
    }
    return row;
  });
  const head = element('tr', {}, ...heads.map(text => element('th', {}, text)));
  const table = element('table', {}, element('thead', {}, head), element('tbody', {}, ...rows));
  return element('div', { className: 'wide' }, table);
}

function stripCaption(frames, f) {
  const apart = Math.abs(view.at - frames.index[f]);
  const when = apart === 0 ? `after event ${grouped(frames.index[f])}`
    : `after event ${grouped(frames.index[f])}, the last looked at before`;
  return `Addresses from low to high, ${when}`;
}

/** What colours mean. */
function drawLegend() {
  const grouping = about.groupings[view.grouping];
  $('legend').replaceChildren(...grouping.names.map((name, group) =>
    element('span', { className: 'key', title: name }, swatch(colours.groups[group % 12]), name)));
  about.stacks.forEach((stack, i) => {
    const live = about.groupings[about.telling];
    $(`space-legend-${i}`).replaceChildren(
      ...[0, 1, 3].map(kind =>
        element('span', { className: 'key', title: MEANINGS[kind] }, swatch(colours.kinds[kind]), KINDS[kind])),
      element('span', { className: 'key' }, `live: coloured by ${live.title}`),
    );
  });
}

function drawGroupings() {
  $('grouping').replaceChildren('Stacked by ', ...about.groupings.map((grouping, i) => {
    const button = element('button', { type: 'button' }, grouping.title);
    button.setAttribute('aria-pressed', String(i === view.grouping));
    button.addEventListener('click', () => {
      view.grouping = i;
      drawGroupings();
      drawLegend();
      redraw();
      writeAddress();
    });
    return button;
  }));
}
