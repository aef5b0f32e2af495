// Package policy says what the owner of a PC and the operator let the grid do with it.
//
// One YAML schema serves three layers. From the weakest to the strongest for a key that nobody locked:
//
//	built in   the defaults below
//	machine    the operator's files (Paths.Machine); may lock keys, then its value or the default stands
//	local      policy.yaml in the state folder: whoever administers this one PC
//	owner      owner.yaml in the state folder: what the owner set, on the page or with the command line
//
// deploy/docs/policy.md has all keys, what they do and which preferences of other systems are left out on purpose.
//
// It promises: whatever is wrong in a file is told with file, line and column, all at once. A file that is bad changes
// nothing: the last good policy stands, and where there never was one nothing runs. A value that a lower layer sets for
// a locked key is ignored with a warning. Pausing, resuming and stopping are no keys, hence nobody can lock them.
//
// It decides nothing: package harvest does, with the values and what is seen of the owner.
package policy
