// The scenarios through jsforce: a file for each area.

import { serve } from './harness.mjs';
import bulk from './jsforce-bulk.mjs';
import composite from './jsforce-composite.mjs';
import duplicates from './jsforce-duplicates.mjs';
import events from './jsforce-events.mjs';
import limits from './jsforce-limits.mjs';
import query from './jsforce-query.mjs';
import rows from './jsforce-rows.mjs';
import signIn from './jsforce-sign-in.mjs';

await serve({ ...signIn, ...rows, ...query, ...composite, ...duplicates, ...events, ...bulk, ...limits });
