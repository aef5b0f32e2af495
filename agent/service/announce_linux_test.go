package service

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestAnnounce checks what systemd hears of a daemon, and when.
func TestAnnounce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	hear := func(want string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		n, err := socket.Read(got)
		if err != nil || string(got[:n]) != want {
			t.Fatalf("got %q, %v, expected %q", got[:n], err, want)
		}
	}
	t.Setenv("NOTIFY_SOCKET", path)
	ctx, cancel := context.WithCancel(t.Context())
	failed := errors.New("failed")
	err = Announce(ctx, func(ctx context.Context) error {
		hear("READY=1")
		cancel()
		hear("STOPPING=1")
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

// TestAnnounceToNobody checks that a daemon runs that systemd did not start.
func TestAnnounceToNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	ran := false
	err := Announce(t.Context(), func(context.Context) error { ran = true; return nil })
	if err != nil || !ran {
		t.Error(ran, err)
	}
}
