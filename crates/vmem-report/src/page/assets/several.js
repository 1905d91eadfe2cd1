'use strict';
(() => {
  const frames = [...document.querySelectorAll('iframe')];
  const buttons = frames.map((frame, i) => {
    const button = document.createElement('button');
    button.textContent = frame.dataset.trace;
    button.addEventListener('click', () => show(i));
    document.getElementById('traces').append(button);
    return button;
  });
  function show(chosen) {
    frames.forEach((frame, i) => {
      frame.hidden = i !== chosen;
      buttons[i].setAttribute('aria-pressed', String(i === chosen));
    });
    // It may have been drawn while it had no width.
    frames[chosen].contentWindow.dispatchEvent(new Event('resize'));
  }
  /** A frame is ready when its page is. */
  function look() {
    for (const frame of frames) {
      const { ready } = frame.contentDocument?.documentElement?.dataset ?? {};
      if (ready) frame.dataset.ready = ready;
    }
    if (frames.every(frame => frame.dataset.ready)) document.documentElement.dataset.ready = 'yes';
    else setTimeout(look, 50);
  }
  show(0);
  look();
})();
