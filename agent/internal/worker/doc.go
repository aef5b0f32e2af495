// Package worker runs units: it asks a steward for bundles, fetches what they need, runs them in slots,
// packs and reports the outcomes, and keeps offering the reports until enough stewards have them.
//
// All state belongs to one goroutine. A step takes what happened (a unit ended, a steward answered, a wake
// came, the time) and starts what follows, each in a goroutine of its own that ends with one event:
//
//	exchange ─▶ queue ─▶ slots ─▶ finished ─▶ pack, receipts, journal ─▶ push to stewards ─▶ forgotten
//	    ▲         │ (held: everything from here to the push that the lending steward kept)    │
//	    └─────────┴──────────────────────────────────────────────────────────────────────────┘
//
// What goes wrong where:
//   - a unit fails: its failure is reported; the steward lends it again, elsewhere if it can;
//   - this agent fails (disk, blobs out of reach, executor cannot start): the bundles go back unreported and
//     the job rests here for a while, wakes or not; its blobs are verified again before it goes on;
//   - a steward does not answer: the next one is asked, and the first again a minute later; no unit starts
//     once the last answer is older than a lease lives, and other shards are not kept waiting;
//   - a steward's word keeps a shard from getting on, since it lies or lacks records: another is asked for an hour;
//   - this agent's disk fails: everything unfinished goes back, and no work is asked for until a write worked; a
//     store that is full by its quota takes no more work either, but what runs may end;
//   - holders lack something: packs wait in memory; after a minute that is this agent's failure, and the units
//     had better run elsewhere;
//   - stewards lack something: reports wait in the journal, until backlog is full; a report that one steward
//     refuses for good is still offered to the others;
//   - a unit takes no CPU time, whatever its program says of itself: it goes back, and its job rests here;
//   - the machine has slept: stewards are asked whether what it runs is still wanted, and what none confirms goes back;
//   - the machine is needed for something else (Offer): what runs beyond the slots that are left is frozen and held on,
//     nothing is fetched or asked for beyond them; after a while what does not go on goes back, with its newest checkpoint;
//   - memory is needed for something else: units whose manifest lets them have more than is left are neither asked for nor
//     started, and go back where it has become less; other jobs have the slots;
//   - the lease was lost: the steward says drop, the units stop;
//   - the job ends or expires: its units stop, and what waits of it is forgotten;
//   - the agent stops: long units give a last checkpoint, units end, finished ones of unfinished bundles too are journalled, leases go back.
//
// Checkpoints. Long units are saved now and then (executor.Unit), unless more than one owner has to report them. Each
// checkpoint goes into the local store and to its holders; a signed note of it, with their receipts, on disk, to the
// lending steward and to one that does not lend: both PCs and this one may go at once. Nobody waits for a checkpoint:
// whoever gives a unit back has told of the newest long before, and only a stop asks for one more. Whoever is lent the
// unit next gets the notes from its steward, verifies them, fetches the parts, and goes on from the newest that is good;
// with none it begins anew. A steward can hide checkpoints or give old ones, and never forge any. They are released when
// a durable report names the unit, or a steward says that it is open no more.
//
// What it costs. Reports say of each unit what CPU time its run took, and that of the runs before from whose checkpoint it
// went on. Beside that they say what gave no result since the report before: the runs that ended without one, from where
// and to where they came and with which checkpoint, for what of them is lost only shows when the unit has a result; and
// what the agent itself used while it held anything (overhead). Whoever holds nothing
// of a shard any more, and has something to say, writes a report of that alone: one for each time that it leaves a shard
// of a live job. What it used since its last checkpoint and its last report goes with an agent that is killed.
//
// Where the outcomes of a bundle are large, or backlog is full, those units that ended go into a report ahead
// of the others, as a part of the bundle.
//
// The law of what is held: a bundle is held from its lending until it is dropped, given back, or durable
// reports name all its units. An outcome counts in backlog until its report is durable or it is discarded;
// whoever takes an unfinished bundle back does not discard its finished parts.
package worker
