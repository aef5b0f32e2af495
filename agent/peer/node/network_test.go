package node

import (
	"net"
	"testing"
)

func TestLocal(t *testing.T) {
	for listens, want := range map[string]string{
		"0.0.0.0:7946":  "127.0.0.1:7946",
		"[::]:7946":     "127.0.0.1:7946",
		"10.1.2.3:7946": "10.1.2.3:7946",
		"[fd00::1]:80":  "[fd00::1]:80",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listens)
		if err != nil {
			t.Fatal(err)
		}
		if got := local(addr); got != want {
			t.Errorf("who listens at %s is at %s, expected %s", listens, got, want)
		}
	}
}
