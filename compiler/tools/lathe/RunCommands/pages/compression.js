// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
// What each layer loses by each alternative; what it got stands out.
function showChoice(choice, quality) {
  const measure = quality === 'perplexity' ? 'drop of perplexity' : 'relative error of outputs';
  scatter('Size against quality, of all layers together', choice.curve, point => point.bytes / 1e6, point => point.drop ?? NaN,
          point => point.chosen ? 'chosen' : 'a size between', 'MB', measure, true);
  if (!choice.layers.length) return;
  const formats = [...new Set(choice.layers.flatMap(layer => layer.alternatives.map(other => other.format)))];
  make(byId('plots'), 'h2', {}, `What layers lose by each alternative (${choice.measure}, ${choice.samples} samples)`);
  const grid = make(make(byId('plots'), 'div', { class: 'scroll' }), 'table'), head = make(make(grid, 'thead'), 'tr');
  make(head, 'th', { class: 'left' }, 'weight');
  for (const format of formats) make(head, 'th', {}, format);
  const body = make(grid, 'tbody');
  for (const layer of choice.layers) {
    const line = make(body, 'tr');
    make(line, 'td', { class: 'left' }, layer.weight);
    for (const format of formats) {
      const own = layer.alternatives.find(other => other.format === format);
      const title = own ? [megabytes(own.bytes), ...(known(own.microseconds) ? [digits(own.microseconds, 4) + ' us, ' + own.kernel] : [])].join(', ') : '';
      make(line, 'td', { ...(layer.chosen === format ? { class: 'chosen' } : {}), title }, own ? (own.estimated ? '~' : '') + digits(own.loss ?? Infinity, 3) : '');
    }
  }
}
function showCompression(report) {
  const compression = report.compression, layers = compression.layers, done = layers.filter(layer => layer.format);
  byId('title').textContent = 'Lathe: compression report';
  if (layers.length) total('layers compressed', `${done.length} of ${layers.length}`);
  if (layers.length) total('their bytes before', megabytes(compression.bytes_before));
  if (layers.length) total('after', megabytes(compression.bytes_after));
  total('share', compression.bytes_before ? (100 * compression.bytes_after / compression.bytes_before).toFixed(1) + ' %' : '');
  const zeros = (compression.pruned || []).filter(layer => layer.pattern);
  if (zeros.length) total('zeros of pruned layers', percent(zeros.reduce((all, l) => all + l.sparsity * l.inputs * l.outputs, 0) / zeros.reduce((all, l) => all + l.inputs * l.outputs, 0)));
  total('all weights', megabytes(report.weights_bytes));
  total('samples', compression.samples ? plain(compression.samples) : '');
  for (const key of ['quality_before', 'quality_after', 'drop']) if (known(compression[key])) total(key.replace('_', ' '), digits(compression[key], 5));
  const timed = layers.filter(layer => known(layer.microseconds_before)), sum = key => timed.reduce((all, layer) => all + layer[key], 0);
  if (timed.length) total('microseconds of products', `${digits(sum('microseconds_before'), 4)} to ${digits(sum('microseconds_after'), 4)}`);
  if (known(compression.not_timed)) total('not timed', compression.not_timed);
  const name = layer => layer.weight;
  bars('Bytes of each layer, before and after', layers, [['before', layer => layer.bytes_before], ['after', layer => layer.bytes_after]], name, megabytes);
  bars('Relative error of each layer', done, [['error', layer => known(layer.snr_db) ? Math.pow(10, -layer.snr_db / 20) : 0]], name, x => digits(x, 3));
  bars('Microseconds of each layer, before and after', layers, [['before', layer => layer.microseconds_before], ['after', layer => layer.microseconds_after]], name, x => digits(x, 4) + ' us');
  scatter('Bits against signal to noise', done, layer => layer.bits, layer => layer.snr_db ?? NaN, name, 'bits a weight', 'dB');
  for (const choice of compression.choices || []) showChoice(choice, compression.quality);
  const pruned = compression.pruned || [];
  bars('Relative error of each pruned layer', pruned, [['error', layer => known(layer.snr_db) ? Math.pow(10, -layer.snr_db / 20) : 0]], name, x => digits(x, 3));
  table('Pruned layers (a click on a title sorts)',
        [['weight', l => l.weight, plain, true], ['node', l => l.node, plain, true], ['inputs', l => l.inputs, plain], ['outputs', l => l.outputs, plain],
         ['zeros before', l => l.sparsity_before, percent], ['after', l => l.sparsity, percent], ['pattern', l => l.pattern, plain, true],
         ['method', l => l.method, plain, true], ['SNR, dB', l => l.snr_db, x => x.toFixed(1)], ['cosine', l => l.cosine, x => x.toFixed(6)],
         ['error of', l => l.error_of, plain, true], ['reason', l => l.reason, plain, true]], pruned, layer => layer.pattern ? '' : 'kept');
  const sparse = compression.sparse || [];
  bars('Microseconds of products with zeros, dense and as what was taken', sparse, [['before', l => l.microseconds_before], ['after', l => l.microseconds_after]], name, x => digits(x, 4) + ' us');
  table('Weights with zeros (a click on a title sorts)',
        [['weight', l => l.weight, plain, true], ['node', l => l.node, plain, true], ['inputs', l => l.inputs, plain], ['outputs', l => l.outputs, plain],
         ['zeros', l => l.zeros, percent], ['pattern', l => l.pattern, plain, true], ['stored as', l => l.format, plain, true],
         ['bytes before', l => l.bytes_before, plain], ['after', l => l.bytes_after, plain], ['us before', l => l.microseconds_before, x => digits(x, 4)],
         ['us after', l => l.microseconds_after, x => digits(x, 4)], ['rows', l => l.rows, plain],
         ['timed', l => l.timed ? l.timed.map(way => `${way.as} ${digits(way.microseconds, 4)}`).join(', ') : null, plain, true],
         ['reason', l => l.reason, plain, true]], sparse, layer => layer.format === 'dense' ? 'kept' : '');
  const imported = (report.stored || []).filter(weight => weight.imported);
  if (imported.length) total('compressed in the model', `${imported.length} weights, ${megabytes(imported.reduce((all, weight) => all + weight.bytes, 0))}`);
  table('Weights that the model has compressed (a click on a title sorts)',
        [['weight', w => w.weight, plain, true], ['inputs', w => w.inputs, plain], ['outputs', w => w.outputs, plain], ['values', w => w.values, plain, true],
         ['bits', w => w.bits, plain], ['group', w => w.group, plain], ['scale', w => w.scale, plain, true], ['stored as', w => w.storage, plain, true],
         ['bytes of f32', w => w.f32_bytes, plain], ['bytes', w => w.bytes, plain]], imported, () => '');
  const parts = compression.structured || [], place = part => part.node;
  for (const pattern of new Set(parts.map(part => part.pattern))) {
    const own = parts.filter(part => part.pattern === pattern), sum = key => own.reduce((all, part) => all + part[key], 0);
    total(pattern + ' left', `${sum('after')} of ${sum('before')}`);
    bars(`Bytes of ${pattern} at each place, before and after`, own, [['before', p => p.bytes_before], ['after', p => p.bytes_after]], place, megabytes);
  }
  table('Parts that went (a click on a title sorts)',
        [['node', p => p.node, plain, true], ['pattern', p => p.pattern, plain, true], ['method', p => p.method, plain, true], ['before', p => p.before, plain],
         ['after', p => p.after, plain], ['cost', p => p.cost, x => digits(x, 4)], ['bytes before', p => p.bytes_before, plain], ['bytes after', p => p.bytes_after, plain],
         ['inputs and outputs', p => p.interface ? p.interface.join(', ') : null, plain, true], ['reason', p => p.reason, plain, true]], parts,
        part => part.after < part.before ? '' : 'kept');
  table('Layers (a click on a title sorts)', [['weight', l => l.weight, plain, true], ['node', l => l.node, plain, true], ['bytes before', l => l.bytes_before, plain],
         ['after', l => l.bytes_after, plain], ['bits', l => l.bits, x => digits(x, 3)], ['format', l => l.format, plain, true], ['rank', l => l.rank, plain],
         ['energy kept', l => l.energy_kept, x => digits(x, 4)],
         ['method', l => l.method, plain, true], ['activations', l => l.activations, plain, true], ['SNR, dB', l => l.snr_db, x => x.toFixed(1)],
         ['cosine', l => l.cosine, x => x.toFixed(6)], ['error of', l => l.error_of, plain, true], ['kernel', l => l.kernel, plain, true],
         ['us before', l => l.microseconds_before, x => digits(x, 4)], ['us after', l => l.microseconds_after, x => digits(x, 4)],
         ['rows', l => l.rows, plain], ['timed', l => l.timed ? l.timed.map(way => `${way.as} ${digits(way.microseconds, 4)}`).join(', ') : null, plain, true],
         ['reason', l => l.reason, plain, true]], layers, layer => layer.format ? '' : 'kept');
}
showCompression(report);
