// Sorts and filters the table of classes; without it the table is whole, the worst class first.
for (const card of document.querySelectorAll('.classes')) {
  const body = card.querySelector('tbody'), rows = [...body.rows], heads = [...card.querySelectorAll('thead th')];
  const filter = card.querySelector('.filter'), input = filter.querySelector('input');
  const status = filter.querySelector('[role=status]');
  const names = rows.map(row => row.cells[0].textContent.toLowerCase());
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!column) return cell.textContent;
    return cell.dataset.v === '' ? null : Number(cell.dataset.v);
  };
  const compare = (a, b) => typeof a === 'string' ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const order = head.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
      heads.forEach(each => each.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', order);
      const sign = order === 'ascending' ? 1 : -1;
      const sorted = rows.map(row => [value(row, column), row]);
      sorted.sort(([a], [b]) => a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * compare(a, b));
      body.append(...sorted.map(([, row]) => row));
    });
  });
  const show = () => {
    const wanted = input.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, place) => {
      row.hidden = !names[place].includes(wanted);
      count += !row.hidden;
    });
    status.textContent = wanted ? `${count} of ${rows.length}` : `${rows.length} classes`;
  };
  input.addEventListener('input', show);
  filter.hidden = false;
  show();
}
