//go:build !unix

package signals

import "time"

// terminals have no devices here that would tell of keys; a session's helper sees those too.
type terminals struct{}

func newTerminals(Options) *terminals { return &terminals{} }

func (*terminals) lastInput(login) time.Time { return time.Time{} }

func (*terminals) logins() []login { return nil }
