// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
// What all pages share. A page has one report, as JSON, and one script of its kind behind this one.
'use strict';
const report = JSON.parse(document.getElementById('report').textContent);
const byId = id => document.getElementById(id);
const known = x => x !== null && x !== undefined;
const digits = (x, n) => known(x) ? String(Number(Number(x).toPrecision(n))) : '';
const megabytes = x => known(x) ? (x / 1e6).toFixed(x < 1e5 ? 3 : 1) + ' MB' : '';
function make(parent, name, attributes, text) {
  const isSvg = parent.namespaceURI.endsWith('svg') || name === 'svg';
  const element = isSvg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  if (known(text)) element.textContent = text;
  parent.appendChild(element);
  return element;
}
function total(name, text) {
  if (!text) return;
  const group = make(byId('totals'), 'div');
  make(group, 'dt', {}, name);
  make(group, 'dd', {}, text);
}
// Columns: [title, value of a row, text of the value, whether it is text]. Rows are sorted by what a click names; missing values stay last.
function table(caption, columns, rows, classOf) {
  if (!rows.length) return;
  let sorted = -1, down = false, most = 500;
  make(byId('tables'), 'h2', {}, caption);
  const own = make(make(byId('tables'), 'div', { class: 'scroll' }), 'table', { class: 'sorts' });
  const head = make(make(own, 'thead'), 'tr'), body = make(own, 'tbody');
  const shown = columns.filter(([, value]) => rows.some(row => known(value(row)) && value(row) !== ''));
  const fill = () => {
    body.textContent = '';
    const order = rows.slice();
    if (sorted >= 0) {
      const value = shown[sorted][1];
      order.sort((x, y) => {
        const a = value(x), b = value(y);
        if (!known(a) || !known(b)) return known(b) - known(a);
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
    }
    for (const row of order.slice(0, most)) {
      const line = make(body, 'tr', { class: classOf(row) });
      for (const [title, value, text, isText] of shown)
        make(line, 'td', { class: (isText ? 'left ' : '') + title }, known(value(row)) ? text(value(row)) : '');
    }
    if (order.length > most)
      make(make(make(body, 'tr'), 'td', { class: 'left', colspan: shown.length }), 'button', {}, `show all ${order.length} rows`).addEventListener('click', () => { most = Infinity; fill(); });
  };
  shown.forEach(([title, , , isText], i) => {
    make(head, 'th', { class: isText ? 'left' : '', title: 'sort' }, title).addEventListener('click', () => {
      down = sorted === i ? !down : !isText;
      sorted = i;
      fill();
    });
  });
  fill();
}
// One bar, or two, for each row. Bars: [class, value of a row].
function bars(title, rows, bars, name, text) {
  if (!rows.length) return;
  const most = Math.max(...rows.map(row => Math.max(...bars.map(([, value]) => value(row) || 0))));
  if (!(most > 0)) return;
  make(byId('plots'), 'h2', {}, title);
  const width = 1000, height = 180, step = width / rows.length;
  const svg = make(byId('plots'), 'svg', { viewBox: `0 0 ${width} ${height + 20}`, role: 'img', 'aria-label': title });
  make(svg, 'line', { x1: 0, x2: width, y1: height, y2: height, class: 'axis' });
  make(svg, 'text', { x: 0, y: height + 15 }, 'first');
  make(svg, 'text', { x: width, y: height + 15, 'text-anchor': 'end' }, 'last; the highest is ' + text(most));
  rows.forEach((row, i) => bars.forEach(([kind, value], j) => {
    const h = (height - 10) * (value(row) || 0) / most;
    const bar = make(svg, 'rect', { x: i * step + step * (0.1 + 0.8 * j / bars.length), y: height - h, width: step * 0.8 / bars.length, height: h, class: kind });
    make(bar, 'title', {}, name(row) + ': ' + text(value(row)));
  }));
}
// Points, and where `front` is set the line of those that no other beats: none is as far left and as low.
function scatter(title, rows, x, y, name, xName, yName, front) {
  const points = rows.filter(row => Number.isFinite(x(row)) && Number.isFinite(y(row)));
  if (points.length < 2) return;
  make(byId('plots'), 'h2', {}, title);
  const width = 1000, height = 260, left = 60, right = 20;
  const svg = make(byId('plots'), 'svg', { viewBox: `0 0 ${width} ${height + 45}`, role: 'img', 'aria-label': title });
  const range = values => { const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1; return [low >= 0 ? Math.max(low - room, 0) : low - room, high + room]; };
  const [x0, x1] = range(points.map(x)), [y0, y1] = range(points.map(y));
  const atX = value => left + (width - left - right) * (value - x0) / (x1 - x0), atY = value => height - (height - 40) * (value - y0) / (y1 - y0);
  make(svg, 'line', { x1: left, x2: width - right, y1: height, y2: height, class: 'axis' });
  make(svg, 'line', { x1: left, x2: left, y1: 20, y2: height, class: 'axis' });
  for (let i = 0; i <= 4; ++i) {
    const onX = x0 + (x1 - x0) * i / 4, onY = y0 + (y1 - y0) * i / 4;
    make(svg, 'text', { x: atX(onX), y: height + 15, 'text-anchor': i === 4 ? 'end' : 'middle' }, digits(onX, 3));
    make(svg, 'text', { x: left - 6, y: atY(onY) + 4, 'text-anchor': 'end' }, digits(onY, 3));
  }
  make(svg, 'text', { x: width - right, y: height + 34, 'text-anchor': 'end' }, xName);
  make(svg, 'text', { x: 0, y: 11 }, yName);
  const best = new Set();
  if (front) {
    let limit = Infinity;
    for (const row of points.slice().sort((p, q) => x(p) - x(q) || y(p) - y(q)))
      if (y(row) < limit) { limit = y(row); best.add(row); }
    make(svg, 'polyline', { class: 'front', points: [...best].map(row => `${atX(x(row)).toFixed(1)},${atY(y(row)).toFixed(1)}`).join(' ') });
    make(svg, 'text', { x: width - right, y: 11, 'text-anchor': 'end' }, 'line: the Pareto front');
  }
  for (const row of points)
    make(make(svg, 'circle', { cx: atX(x(row)).toFixed(1), cy: atY(y(row)).toFixed(1), r: row.chosen ? 7 : 4, class: row.chosen ? 'error' : best.has(row) ? 'best' : 'after', 'fill-opacity': 0.75 }), 'title', {},
         `${name(row)}: ${digits(x(row), 4)} ${xName}, ${digits(y(row), 4)} ${yName}`);
}
const plain = x => String(x);
const percent = x => (100 * x).toFixed(1) + ' %';
// The parts of the name of a node, as layers are nested: '/encoder/layer.3/attention/MatMul' is below 'encoder' and 'layer.3'.
function pathOf(node) {
  const parts = [];
  for (const part of node.split(/[/.]/).filter(part => part)) {
    if (/^\d+$/.test(part) && parts.length) parts[parts.length - 1] += '.' + part;
    else parts.push(part);
  }
  return parts.length ? parts : [node || '(no node)'];
}
const color = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
function tip(event, text) {
  let box = document.querySelector('.tip');
  if (!text) return void (box && box.remove());
  if (!box) box = make(document.body, 'div', { class: 'tip' });
  box.textContent = text;
  box.style.left = Math.max(0, Math.min(event.clientX + 12, innerWidth - box.offsetWidth - 8)) + 'px';
  box.style.top = Math.max(0, event.clientY + 16 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 8 : event.clientY + 16) + 'px';
}
// A canvas that `draw(context, width)` fills, anew where its size or the colours change. Returns what draws it again.
function canvas(parent, height, label, draw) {
  const own = make(parent, 'canvas', { role: 'img', 'aria-label': label });
  const redraw = () => {
    const width = own.clientWidth, scale = devicePixelRatio || 1, high = typeof height === 'function' ? height() : height;
    own.style.height = high + 'px';
    own.width = Math.round(width * scale);
    own.height = Math.round(high * scale);
    const context = own.getContext('2d');
    context.scale(scale, scale);
    context.font = '11px system-ui, sans-serif';
    context.textBaseline = 'middle';
    draw(context, width, high);
  };
  addEventListener('resize', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  redraw();
  return [own, redraw];
}
function fitted(context, text, width) {
  if (width < 16) return '';
  if (context.measureText(text).width <= width) return text;
  let count = Math.floor(text.length * width / context.measureText(text).width);
  while (count > 1 && context.measureText(text.slice(0, count) + '…').width > width) --count;
  return count > 1 ? text.slice(0, count) + '…' : '';
}
