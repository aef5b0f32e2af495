package local

import (
	"strings"
	"testing"
)

func TestSessionOf(t *testing.T) {
	for groups, want := range map[string]struct {
		session     string
		interactive bool
	}{
		"0::/user.slice/user-1000.slice/session-3.scope\n":                                     {"3", true},
		"0::/user.slice/user-1000.slice/session-c12.scope/app\n":                               {"c12", true},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/gridagent-session.service": {"", true},
		"0::/system.slice/cron.service\n":                                                      {"", false},
		"0::/\n":                                                                               {"", false},
		"":                                                                                     {"", false},
		"12:cpu:/\n1:name=systemd:/user.slice/user-7.slice/session-9.scope\n0::/\n": {"9", true},
		"1:name=elogind:/4\n": {"4", true},
		"1:name=elogind:/\n":  {"", false},
		// A group that a service made below its own says nothing.
		"0::/system.slice/a.service/user.slice/user-7.slice/session-9.scope\n": {"", false},
		"nonsense":      {"", false},
		"::::::::\n:\n": {"", false},
	} {
		session, interactive := sessionOf(groups)
		if session != want.session || interactive != want.interactive {
			t.Errorf("%q: %q, %t", groups, session, interactive)
		}
	}
}

func TestHasTerminal(t *testing.T) {
	for stat, want := range map[string]bool{
		"7 (bash) S 1 7 7 34816 7 4194304":    true,
		"7 (cron) S 1 7 7 0 -1 4194304":       false,
		"7 (a) b) 1) S 1 7 7 34816 7 4194304": true,
		"7 (cron":                             false,
		"":                                    false,
	} {
		if got := hasTerminal([]byte(stat)); got != want {
			t.Errorf("%q: %t", stat, got)
		}
	}
}

func FuzzSessionOf(f *testing.F) {
	f.Add("0::/user.slice/user-1000.slice/session-3.scope\n")
	f.Fuzz(func(t *testing.T, groups string) {
		session, interactive := sessionOf(groups)
		if session != "" && !interactive || strings.Contains(session, "/") {
			t.Errorf("%q: %q, %t", groups, session, interactive)
		}
		hasTerminal([]byte(groups))
	})
}
