// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
// Where the time of a run goes: by layers (flame), one after the other (timeline), and by kernel.
const msText = x => x >= 1 ? digits(x, 4) + ' ms' : digits(1000 * x, 3) + ' us';

// Kernels below the layers of their last node, each as wide as its time.
function flameOf(profile) {
  const root = { name: 'a run', ms: profile.run_ms, children: [], places: new Map(), parent: null, depth: 0 };
  profile.kernels.forEach((kernel, index) => {
    if (!kernel.calls) return;
    const node = kernel.nodes.length ? kernel.nodes[kernel.nodes.length - 1] : '';
    let at = root;
    for (const part of pathOf(node)) {
      if (!at.places.has(part)) {
        const own = { name: part, ms: 0, children: [], places: new Map(), parent: at, depth: at.depth + 1 };
        at.places.set(part, own);
        at.children.push(own);
      }
      at = at.places.get(part);
      at.ms += kernel.ms;
    }
    at.kernels = (at.kernels || []).concat(index);
  });
  if (profile.between_ms > 0) root.children.push({ name: 'between kernels', ms: profile.between_ms, children: [], parent: root, depth: 1, isRest: true });
  return root;
}

function showFlame(profile, kindColor) {
  make(byId('plots'), 'h2', {}, 'By layer');
  make(byId('plots'), 'p', { class: 'note' }, 'Each box is as wide as the time of what is in it; a click makes one as wide as the page, one more on the first box goes back.');
  const root = flameOf(profile), height = 20;
  const deepest = at => Math.max(at.depth, ...at.children.map(deepest));
  let top = root, boxes = [];
  const draw = (context, width) => {
    boxes = [];
    const put = (at, x, wide, depth) => {
      if (wide < 0.4) return;
      boxes.push({ at, x, wide, y: depth * height });
      const kernel = at.kernels ? profile.kernels[at.kernels[0]] : null;
      context.fillStyle = at.isRest ? color('line') : kernel && !at.children.length ? kindColor(kernel.kind) : color(depth % 2 ? 'before' : 'head');
      context.fillRect(x, depth * height, Math.max(wide - 0.6, 0.4), height - 1);
      context.fillStyle = color('text');
      const whole = `${at.name}  ${msText(at.ms)}`; // a part of a number would be another one
      context.fillText(context.measureText(whole).width <= wide - 8 ? whole : fitted(context, at.name, wide - 8), x + 4, depth * height + height / 2);
      let next = x;
      const sum = at.children.reduce((all, child) => all + child.ms, 0), scale = wide / Math.max(at.ms, sum, 1e-12);
      for (const child of at.children) {
        put(child, next, child.ms * scale, depth + 1);
        next += child.ms * scale;
      }
    };
    put(top, 0, width, 0);
  };
  const [own, redraw] = canvas(byId('plots'), () => (deepest(top) - top.depth + 1) * height, 'time by layer', draw);
  const at = event => boxes.find(box => event.offsetX >= box.x && event.offsetX < box.x + box.wide && event.offsetY >= box.y && event.offsetY < box.y + height - 1);
  own.addEventListener('click', event => {
    const box = at(event);
    if (!box || box.at.isRest) return;
    top = box.at === top ? top.parent || top : box.at;
    redraw();
  });
  own.addEventListener('mousemove', event => {
    const box = at(event);
    if (!box) return tip(event, '');
    const kernels = (box.at.kernels || []).map(i => profile.kernels[i]).map(k => `\n${k.name} (${k.kind}): ${msText(k.ms)}`);
    tip(event, `${box.at.name}: ${msText(box.at.ms)}, ${percent(box.at.ms / profile.run_ms)} of a run${kernels.slice(0, 8).join('')}`);
  });
  own.addEventListener('mouseleave', event => tip(event, ''));
}

function showTimeline(profile, kindColor) {
  const events = profile.events;
  if (!events.length) return;
  make(byId('plots'), 'h2', {}, 'One run');
  make(byId('plots'), 'p', { class: 'note' }, 'Calls in their order; the wheel zooms, dragging moves, a double click shows all.');
  const last = events.reduce((all, [, start, length]) => Math.max(all, start + length), 0) || 1, height = 74;
  let from = 0, to = last, drag = null;
  const draw = (context, width) => {
    const scale = width / (to - from), step = Math.pow(10, Math.floor(Math.log10((to - from) / 5))), unit = (to - from) / step > 25 ? 5 * step : (to - from) / step > 10 ? 2 * step : step;
    context.fillStyle = color('soft');
    for (let t = Math.ceil(from / unit) * unit; t <= to; t += unit) {
      const x = (t - from) * scale;
      context.fillRect(x, 52, 1, 5);
      context.textAlign = x > width - 60 ? 'right' : 'left';
      context.fillText(t >= 1000 || to >= 10000 ? digits(t / 1000, 6) + ' ms' : digits(t, 6) + ' us', x + (x > width - 60 ? -3 : 3), 64);
    }
    context.textAlign = 'left';
    // Calls that share a pixel are one bar: of several thousand few are seen.
    let covered = -1;
    for (const [kernel, start, length] of events) {
      if (start + length < from || start > to) continue;
      const x = (start - from) * scale, wide = Math.max(length * scale, 0.5), own = profile.kernels[kernel];
      if (x + wide < covered + 0.5) continue;
      covered = x + wide;
      context.fillStyle = kindColor(own.kind);
      context.fillRect(x, 4, wide > 3 ? wide - 0.6 : wide, 44);
      if (wide > 24) {
        const node = own.nodes.length ? pathOf(own.nodes[own.nodes.length - 1]) : [own.name];
        context.fillStyle = color('text');
        context.fillText(fitted(context, node[node.length - 1], wide - 6), x + 3, 18);
        if (context.measureText(msText(length / 1000)).width <= wide - 6) context.fillText(msText(length / 1000), x + 3, 34);
      }
    }
  };
  const [own, redraw] = canvas(byId('plots'), height, 'calls of kernels in one run', draw);
  const clamp = () => {
    const length = Math.min(Math.max(to - from, 0.05), last);
    from = Math.min(Math.max(from, 0), last - length);
    to = from + length;
    redraw();
  };
  own.addEventListener('wheel', event => {
    event.preventDefault();
    const at = from + (to - from) * event.offsetX / own.clientWidth, factor = Math.exp(Math.max(-1, Math.min(1, event.deltaY / 200)));
    from = at - (at - from) * factor;
    to = at + (to - at) * factor;
    if (to - from > last) [from, to] = [0, last];
    clamp();
  }, { passive: false });
  own.addEventListener('pointerdown', event => { drag = { x: event.clientX, from, to }; own.setPointerCapture(event.pointerId); });
  own.addEventListener('pointerup', () => { drag = null; });
  own.addEventListener('dblclick', () => { [from, to] = [0, last]; redraw(); });
  own.addEventListener('pointermove', event => {
    if (drag) {
      const moved = (event.clientX - drag.x) * (drag.to - drag.from) / own.clientWidth;
      from = drag.from - moved;
      to = drag.to - moved;
      clamp();
      return;
    }
    const t = from + (to - from) * event.offsetX / own.clientWidth, slack = (to - from) / own.clientWidth;
    const found = events.find(([, start, length]) => t >= start - slack && t <= start + length + slack);
    if (!found) return tip(event, '');
    const kernel = profile.kernels[found[0]];
    tip(event, `${kernel.name} (${kernel.kind}), ${msText(found[2] / 1000)} at ${msText(found[1] / 1000)}\n${kernel.nodes.slice(0, 12).join('\n')}`);
  });
  own.addEventListener('mouseleave', event => tip(event, ''));
}

function showProfile(profile) {
  byId('title').textContent = 'Lathe: profile of ' + profile.file;
  total('a run', msText(profile.run_ms));
  total('in kernels', msText(profile.kernels_ms));
  total('between them', msText(profile.between_ms));
  total('calls of kernels', digits(profile.kernels.reduce((all, kernel) => all + kernel.calls, 0), 6));
  total('device', profile.device);
  total('threads', plain(profile.threads));
  total('runs', plain(profile.iterations));
  total('dimensions', Object.entries(profile.dims).map(([name, value]) => `${name} = ${value}`).join(', '));
  const time = new Map();
  for (const kernel of profile.kernels) if (kernel.calls) time.set(kernel.kind, (time.get(kernel.kind) || 0) + kernel.ms);
  const kinds = [...time.keys()].sort((a, b) => time.get(b) - time.get(a));
  const kindColor = kind => color('k' + Math.min(Math.max(kinds.indexOf(kind), 0), 7));
  const keys = make(byId('plots'), 'p', { class: 'keys' });
  for (const kind of kinds) {
    const key = make(keys, 'span');
    make(key, 'i').style.background = `var(--k${Math.min(kinds.indexOf(kind), 7)})`;
    key.append(`${kind}: ${msText(time.get(kind))}, ${percent(time.get(kind) / profile.run_ms)}`);
  }
  showFlame(profile, kindColor);
  showTimeline(profile, kindColor);
  table('Kernels (a click on a title sorts)',
        [['kernel', k => k.name, plain, true], ['kind', k => k.kind, plain, true], ['ms', k => k.ms, x => x.toFixed(4)], ['%', k => 100 * k.ms / profile.run_ms, x => x.toFixed(2)],
         ['calls', k => k.calls, plain], ['last node', k => k.nodes.length ? k.nodes[k.nodes.length - 1] : null, plain, true], ['nodes', k => k.nodes.length, plain]],
        profile.kernels.filter(kernel => kernel.calls).sort((a, b) => b.ms - a.ms), () => '');
}
showProfile(report.profile);
