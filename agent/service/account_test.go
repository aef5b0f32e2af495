package service

import (
	"strings"
	"testing"
)

// TestAccount compares with the account of a service that every Windows has.
func TestAccount(t *testing.T) {
	s := Service{Name: "TrustedInstaller"}
	if got, want := s.sid(), "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

// TestSettings checks what people see of a service of Windows: that nobody else sees its state.
func TestSettings(t *testing.T) {
	s := Agent(`C:\Program Files\idlegrid\gridagent.exe`, `C:\ProgramData\idlegrid\agent`, []string{"--cores", "2"})
	text := s.settings()
	for _, want := range []string{
		`NT SERVICE\gridagent`, `"service-run" "--state" "C:\\ProgramData\\idlegrid\\agent" "--cores" "2"`,
		`in each session           ["C:\\Program Files\\idlegrid\\gridagent.exe" "session-helper"`,
		"D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;S-1-5-80-",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
