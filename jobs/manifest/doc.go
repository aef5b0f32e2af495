// Package manifest turns a job.yaml into a checked Spec, a Spec into the canonical Manifest that a
// submitter signs, and a Manifest into units, bundles and shards.
//
// # job.yaml
//
// A job.yaml is one YAML document, at most 1 MiB of UTF-8, with these keys and no others:
//
//	key            value                                        default             limits
//	name           letters, digits, dots, dashes, underscores   required            64 characters
//	program        a WebAssembly module with WASI preview 1     required            128 MiB
//	args           list of texts, without the program's name    none
//	env            map of variables                             none
//	stdin          file that every unit reads as its input      empty
//	inputs         list of files and globs, seen at /in         none                16384 files
//	units          {count: N}: N runs, numbered from 0          required            1 to 1000000000
//	memory         size in KiB, MiB or GiB, for each unit       256MiB              64KiB to 4GiB, steps of 64KiB
//	timeout        duration such as 90s or 1h30m, each unit     10m                 1ms to 24h
//	checkpoint     how often a unit's state is saved, 0: never  2m                  1s to 24h
//	retries        how often a failed unit is tried again       2                   0 to 100
//	success_codes  list of exit codes                           [0]                 64 codes
//	bundle         units recorded together                      1, or see below     1 to 16384
//	keep           days (14d) or duration until it expires      14d                 1m to 30d
//	combine        {program: file, args: list}                  nothing to combine
//
// For example:
//
//	name: tour
//	program: tour.wasm
//	args: [solve, --seed, "${unit}"]
//	inputs: [airports.csv, maps/*.png]
//	units: {count: 200}
//	combine: {args: [combine]}
//
// In args and in the values of env, ${unit} stands for the unit's number and $${ for ${ itself; a $ before
// anything else is just a $. Between [ and ], YAML wants the braces in quotes. A number, true and false are
// taken as the text that is written. The args of combine are taken as they are: it runs once, when the
// units are done, and sees their results at /in. Its program is the job's when none is given.
//
// Paths have slashes and are relative to the folder of job.yaml. Nothing outside that folder can be named,
// not by .. and not through a link. A unit sees an input at /in under the same path. In a glob, * ? and
// [a-z] stay within a folder, and ** is any number of folders, at most once. Names that begin with a dot
// need a pattern that does. A folder alone is an error (write folder/*), and so are a glob that matches
// nothing and a file that two entries give.
//
// A unit may print 16 MiB on standard output (more fails it) and 1 MiB on standard error (the rest is dropped), and
// leave 64 MiB in 1,000 files and folders in /out. It has no network, no clock but one that starts at the same
// time in every run, and no host folder.
//
// A unit's state is saved every so often (checkpoint), where its program allows that (jobs/guest says how), so that
// another agent can go on when the one that runs it stops. It changes no outcome. A program that prints much of its
// state anyway, or whose units are over within the interval, loses nothing by having none.
//
// The whole manifest has at most 16 KiB: whatever is larger belongs into an input file. The default of
// bundle makes a job of more than 16384 units one shard, as far as the limit of bundle goes. YAML's anchors,
// aliases, tags and directives are refused: a job.yaml is short, and they are how a small file becomes a
// large one.
//
// # Promises
//
// Load reports all problems at once, each with its place, and a hint where there is one; it never reads
// outside the job's folder and never panics. Equal manifests have equal bytes, so that a job's ID is a
// function of what it does, who submits it and when. Decode checks every bound, because its input comes
// from anyone. A file that changes between the check and its upload is noticed: File.Open.
//
// The package signs nothing (jobs/record does), sends nothing, and does not judge WebAssembly: a
// ProgramCheck does that. Whether a valid manifest can run on this version is a separate question:
// Supported.
package manifest
