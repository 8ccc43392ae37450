import { byId, setText } from './dom.js';

const WHY: Record<string, [title: string, text: string]> = {
  refused: ['Not signed in', 'The sign-in was broken off, took too long, or was begun in another browser. Try again.'],
  'no-role': ['Signed in, without a role', 'Your account has no role that opens anything here. Whoever runs this pulsegate can give it one.'],
};

const why = WHY[new URLSearchParams(location.search).get('why') ?? ''];
if (why !== undefined) {
  setText(byId('signed-out-title'), why[0]);
  setText(byId('signed-out-text'), why[1]);
}
