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
// A verb is a function newXCommand(*app) *cobra.Command in a file of its own, listed in newRoot. It writes
// through app, returns its errors instead of printing them (exitCode says what each becomes), and stops when
// its context ends. Verbs know no colours, so NO_COLOR has nothing to turn off.
package ctl
