// Package results keeps the results of a job in a folder:
//
//	DIR/units/000017/{stdout,stderr,meta.json,out/...}   what a unit gave; six digits, more where the job needs them
//	DIR/units.json                                       all units: unit, status, reason, digest
//	DIR/combined/{stdout,stderr,meta.json,out/...}       what the job's combine program made of it
//	DIR/job.json                                         which job all this is of
//
// out/ is there when the unit left files in /out. The folder of a unit that failed has what its last attempt
// wrote before it failed.
//
// What it promises:
//   - A unit's folder appears by one rename: it is whole or not there. Whether it is still what the unit gave
//     is checked against its digest, so that whoever was interrupted goes on with what is missing.
//   - combined/ never stands beside units that it was not made of.
//   - Nothing is written outside DIR, whatever a program calls its files. A name that this system would take
//     for something else is an error, and leaves nothing behind.
//   - The results of one job are never mixed with those of another.
//
// What it does not do: it fetches nothing and decides no unit's status; and it locks nothing, so that of two
// writers at once one may get an error, though neither leaves a wrong unit behind.
package results
