// Package ctl has gridctl's verbs, one file each.
//
// What scripts may rely on: standard output has data and nothing else, standard error has messages, the last
// of a failure as "gridctl: what was wrong" and, where somebody can do something about it, "hint: what to do".
// The exit code is
//
//	0    done
//	1    an error
//	2    a wrong command line or job.yaml: the same again gives the same error
//	3    the job is not complete; what there is of it was written
//	124  --timeout ended it
//
// Data has the formats of -o: a table, wide with more columns, JSON, YAML with the same fields, or name, which is
// an ID a line. Fields may be added, none is renamed. What a flag says counts before its GRID_ variable, that
// before a file; a person with several logins chooses between contexts.
//
// A verb is a function newXCommand(*app) *cobra.Command in a file of its own, listed in newRoot. It writes
// through app, returns its errors instead of printing them (exitCode says what each becomes), and stops when
// its context ends. Verbs know no colours, so NO_COLOR has nothing to turn off.
package ctl
