package signals

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// logins is who sits at the screen of a Mac: the console belongs to them. Terminals from afar are not told from those
// on the screen; both are of users whose helper, or whose console, speaks for them.
type logins struct{}

func newLogins(Options, func()) *logins { return &logins{} }

func (*logins) run(context.Context) {} // the console is asked when it is needed

func (*logins) missing() bool { return false }

func (*logins) at(time.Time) ([]login, bool) {
	var s unix.Stat_t
	if err := unix.Stat("/dev/console", &s); err != nil {
		return nil, false
	}
	if s.Uid == 0 { // the login screen
		return nil, true
	}
	user := strconv.FormatUint(uint64(s.Uid), 10)
	return []login{{Session: Session{ID: "console", User: user, Kind: Graphical}, screen: true}}, true
}
