import { showWhoIsHere } from './session.js';

// On a phone the row of pages scrolls: the one that is open is in sight.
document.querySelector('nav a[aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });

void showWhoIsHere();
