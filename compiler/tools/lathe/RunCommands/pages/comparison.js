// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
function showComparison(report) {
  const nodes = report.nodes, first = report.first_above;
  byId('title').textContent = 'Lathe: where the values of two models part';
  total('first', report.a);
  total('second', report.b);
  total('values compared', plain(report.compared));
  total('samples', plain(report.samples));
  total('above ' + report.threshold, plain(report.above));
  total('first above', first ? first.node : 'none');
  total('largest step', report.largest_step ? report.largest_step.node : 'none');
  for (const output of report.outputs)
    total(`output ${output.name}`, output.problem || (known(output.relative_error) ? 'relative error ' + digits(output.relative_error, 3) : 'not finite'));
  bars('Relative error of each node, in the order of the run', nodes, [['error', node => node.relative_error]], node => node.node, x => known(x) ? digits(x, 3) : 'not finite');
  table('Nodes (a click on a title sorts)', [['node', n => n.node, plain, true], ['value', n => n.value, plain, true],
         ['relative error', n => known(n.relative_error) ? n.relative_error : Infinity, x => x === Infinity ? 'not finite' : digits(x, 3)],
         ['of its inputs', n => n.relative_error_of_inputs, x => digits(x, 3)], ['max abs', n => n.max_abs_error, x => digits(x, 3)],
         ['SNR, dB', n => n.snr_db, x => x.toFixed(1)], ['cosine', n => n.cosine, x => x.toFixed(6)], ['elements', n => n.elements, plain]],
        nodes, node => first && node.value === first.value ? 'first' : '');
}
showComparison(report);
