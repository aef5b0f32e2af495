// Package e2e tests the three programs as people run them: real processes with state folders of their own,
// mutual TLS and gossip on loopback, ports that the system chooses. It has no code but its tests.
//
// What it promises: everything that a test starts has ended when the test has, also on failure, and a test
// that fails shows the logs of its daemons. Nothing waits for a fixed time; what takes long is asked for until
// it is there or the test's time is up.
//
// What it does not test: what one package can show alone, such as every error of gridctl (see ctl) or the laws
// of the ledger (see jobs/ledger).
package e2e
