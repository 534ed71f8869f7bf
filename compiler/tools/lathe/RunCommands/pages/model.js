// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
// What is inside a model or an artifact: the operations of each phase, below the layers that their nodes' names tell.
const bytesText = x => x >= 1e9 ? digits(x / 1e9, 3) + ' GB' : x >= 1e6 ? digits(x / 1e6, 3) + ' MB' : x >= 1e3 ? digits(x / 1e3, 3) + ' kB' : x ? x + ' B' : '';
const typeText = node => node.type ? node.type + ' [' + (node.shape || []).join(', ') + ']' : '';
const kMostRows = 2000;

function treeOf(phase) {
  const root = { name: phase.name, groups: new Map(), items: [], bytes: 0, count: 0, open: true, parent: null };
  phase.nodes.forEach((node, index) => {
    const path = pathOf(node.node);
    let group = root;
    const add = to => { to.bytes += node.bytes || 0; ++to.count; };
    add(root);
    for (const part of path.slice(0, -1)) {
      if (!group.groups.has(part)) {
        const own = { name: part, groups: new Map(), items: [], bytes: 0, count: 0, open: false, parent: group };
        group.groups.set(part, own);
        group.items.push(own);
      }
      group = group.groups.get(part);
      add(group);
    }
    group.items.push({ name: path[path.length - 1], node, index, parent: group });
  });
  // A layer that holds nothing but one other is one line with it.
  const join = group => {
    for (const item of group.items) if (item.items) join(item);
    while (group.parent && group.items.length === 1 && group.items[0].items) {
      const only = group.items[0];
      group.name += '/' + only.name;
      group.items = only.items;
      for (const item of group.items) item.parent = group;
    }
  };
  join(root);
  // As many layers are open as fit a page, the outer ones first.
  let shown = root.items.length;
  for (const queue = root.items.slice(); queue.length;) {
    const item = queue.shift();
    if (!item.items || shown + item.items.length > 40) continue;
    item.open = true;
    shown += item.items.length;
    queue.push(...item.items);
  }
  return root;
}

function showModel(model) {
  byId('title').textContent = 'Lathe: inside ' + model.file;
  for (const [name, text] of model.totals) total(name, text);
  table('Inputs and outputs', [['name', v => v.name, plain, true], ['', v => v.role, plain, true], ['type', v => v.type, plain, true], ['shape', v => v.shape.join(', '), x => `[${x}]`, true]],
        [...model.inputs.map(v => ({ ...v, role: 'input' })), ...model.outputs.map(v => ({ ...v, role: 'output' }))], () => '');
  const trees = model.phases.map(treeOf);
  let current = model.phases.length - 1, searched = '', marked = -1;

  make(byId('tables'), 'h2', {}, 'Operations');
  const bar = make(byId('tables'), 'div', { class: 'row' });
  const buttons = model.phases.map((phase, i) => {
    const own = make(bar, 'button', { type: 'button' }, `${phase.name}: ${phase.nodes.length}`);
    own.addEventListener('click', () => { current = i; marked = -1; show(); });
    return own;
  });
  const tools = make(byId('tables'), 'div', { class: 'row' });
  const field = make(tools, 'input', { type: 'search', placeholder: 'node, operation, type or weight; several words narrow it', 'aria-label': 'search' });
  field.addEventListener('input', () => { searched = field.value.trim().toLowerCase(); show(); });
  const setAll = open => { const set = group => { for (const item of group.items) if (item.items) { item.open = open; set(item); } }; set(trees[current]); show(); };
  make(tools, 'button', { type: 'button' }, 'open all').addEventListener('click', () => setAll(true));
  make(tools, 'button', { type: 'button' }, 'close all').addEventListener('click', () => setAll(false));
  const note = make(byId('tables'), 'p', { class: 'note' });
  const own = make(make(byId('tables'), 'div', { class: 'scroll' }), 'table', { class: 'tree' });
  const head = make(make(own, 'thead'), 'tr'), body = make(own, 'tbody');
  const hasDevices = model.phases.some(phase => phase.nodes.some(node => node.device));
  for (const [title, isText] of [['layer or node', true], ['operation', true], ['type', true], ['weights', true], ...(hasDevices ? [['device', true]] : []), ['reads', true]])
    make(head, 'th', { class: isText ? 'left' : '' }, title);

  const reveal = index => {
    const find = group => { for (const item of group.items) { const found = item.items ? find(item) : item.index === index ? item : null; if (found) return found; } return null; };
    const item = find(trees[current]);
    for (let group = item && item.parent; group; group = group.parent) group.open = true;
    marked = index;
    searched = field.value = '';
    show();
    const line = body.querySelector('.found');
    if (line) line.scrollIntoView({ block: 'center' });
  };
  const sized = (cell, bytes, most) => {
    if (!bytes) return;
    cell.textContent = bytesText(bytes);
    make(cell, 'span', { class: 'weight' }).style.width = Math.max(1, 60 * bytes / most) + 'px';
  };
  const line = (item, depth, most, isFlat) => {
    const isGroup = Boolean(item.items), row = make(body, 'tr', { class: item.index === marked ? 'found' : '' });
    const name = make(row, 'td', { class: isGroup ? 'left opens' : 'left', title: isGroup ? item.name : item.node.node });
    name.style.paddingLeft = 8 + 18 * depth + 'px';
    name.textContent = isGroup ? (item.open ? '▾ ' : '▸ ') + item.name : isFlat ? item.node.node : item.name;
    if (isGroup) name.addEventListener('click', () => { item.open = !item.open; show(); });
    const operation = make(row, 'td', { class: 'left' }, isGroup ? `${item.count} operation${item.count === 1 ? '' : 's'}` : item.node.op);
    if (!isGroup && item.node.nodes) operation.title = 'of ' + item.node.nodes.join(', ');
    make(row, 'td', { class: 'left' }, isGroup ? '' : typeText(item.node));
    const weights = make(row, 'td', { class: 'weights', title: isGroup ? '' : item.node.weight || '' });
    sized(weights, isGroup ? item.bytes : item.node.bytes, most);
    if (hasDevices) make(row, 'td', { class: 'left' }, isGroup ? '' : item.node.device || '');
    const reads = make(row, 'td', { class: 'left' });
    if (isGroup) return;
    const nodes = model.phases[current].nodes, places = item.node.reads || [];
    places.slice(0, 6).forEach((place, i) => {
      if (i) reads.append(', ');
      const path = pathOf(nodes[place].node);
      make(reads, 'a', { title: nodes[place].node }, path[path.length - 1]).addEventListener('click', () => reveal(place));
    });
    if (places.length > 6) reads.append(` and ${places.length - 6} more`);
  };
  const show = () => {
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(i === current)));
    body.textContent = '';
    const phase = model.phases[current], root = trees[current], most = Math.max(1, ...phase.nodes.map(node => node.bytes || 0));
    let rows = 0;
    if (searched) {
      const words = searched.split(/\s+/);
      const found = phase.nodes.map((node, index) => ({ node, index, name: node.node })).filter(({ node }) => {
        const text = [node.node, node.op, typeText(node), node.weight, node.device, ...(node.nodes || [])].join(' ').toLowerCase();
        return words.every(word => text.includes(word));
      });
      for (const item of found.slice(0, kMostRows)) line(item, 0, most, true);
      note.textContent = `${found.length} of ${phase.nodes.length} operations` + (found.length > kMostRows ? `, of which the first ${kMostRows} are shown` : '');
      return;
    }
    const walk = (group, depth) => {
      for (const item of group.items) {
        if (++rows > kMostRows) return;
        line(item, depth, Math.max(most, item.items ? root.bytes : most), false);
        if (item.items && item.open) walk(item, depth + 1);
      }
    };
    walk(root, 0);
    note.textContent = phase.note + (rows > kMostRows ? ` Only ${kMostRows} rows are shown: close layers, or search.` : '');
  };
  show();
}
showModel(report.model);
