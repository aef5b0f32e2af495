package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// The hosts of an internet have addresses of a range that is kept for tests; the test itself has testHost.
const (
	testRange  = "198.18.0.0/16"
	testHost   = "198.18.0.1"
	packetSize = 1500
)

// internet joins hosts, each in a network namespace of its own with one interface. What they send passes through this
// process, which loses some of it and cuts lines: not every kernel that tests run on has netem.
type internet struct {
	t      testing.TB
	name   string
	reader sync.WaitGroup

	mu    sync.Mutex // guards everything below
	hosts map[netip.Addr]*host
	loss  float64 // share of the packets
	cut   func(from, to netip.Addr) bool

	lost, stopped, passed atomic.Int64 // packets
}

// host is one end of the internet.
type host struct {
	addr  netip.Addr
	netns string // its namespace; empty: the test's own
	tun   *os.File
	sent  atomic.Int64 // bytes
}

// newInternet makes an internet with the test itself in it. Where that is not allowed the test is skipped, but never
// in CI.
func newInternet(t testing.TB) *internet {
	t.Helper()
	n := &internet{
		t: t, name: fmt.Sprintf("gt%d", os.Getpid()), hosts: map[netip.Addr]*host{},
		cut: func(_, _ netip.Addr) bool { return false },
	}
	t.Cleanup(n.reader.Wait)
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must be able to make network namespaces")
		}
		t.Skip("SKIPPED, A REAL NETWORK IS NOT TESTED: network namespaces need root")
	}
	n.add(testHost, "")
	return n
}

// addHost adds a host in a namespace of its own.
func (n *internet) addHost(addr string) *host {
	n.t.Helper()
	netns := fmt.Sprintf("%sn%d", n.name, len(n.hosts))
	n.ip("netns", "add", netns)
	n.t.Cleanup(func() { n.ip("netns", "del", netns) })
	return n.add(addr, netns)
}

func (n *internet) add(addr, netns string) *host {
	n.t.Helper()
	link := fmt.Sprintf("%st%d", n.name, len(n.hosts))
	tun, err := openTun(link)
	if err != nil {
		n.t.Fatalf("make interface %s: %v", link, err)
	}
	h := &host{addr: netip.MustParseAddr(addr), netns: netns, tun: tun}
	in := func(args ...string) { n.ip(args...) }
	if netns != "" {
		n.ip("link", "set", link, "netns", netns)
		in = func(args ...string) { n.ip(append([]string{"-n", netns}, args...)...) }
		in("link", "set", "lo", "up")
	}
	in("addr", "add", addr+"/32", "dev", link)
	in("link", "set", link, "up")
	in("route", "add", testRange, "dev", link, "src", addr)
	n.mu.Lock()
	n.hosts[h.addr] = h
	n.mu.Unlock()
	n.reader.Go(func() { n.forward(h) })
	n.t.Cleanup(func() {
		if err := tun.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return h
}

// ip runs the command of that name.
func (n *internet) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// openTun makes an interface whose packets this process reads and writes. It goes when the file is closed.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// forward passes on what a host sends, until its interface is closed.
func (n *internet) forward(from *host) {
	packet := make([]byte, packetSize)
	for {
		size, err := from.tun.Read(packet)
		if errors.Is(err, fs.ErrClosed) {
			return
		}
		if err != nil {
			n.t.Errorf("read what %s sends: %v", from.addr, err)
			return
		}
		const version, header = 4, 20 // of IP; version 6 only looks for neighbours
		if size < header || packet[0]>>4 != version {
			continue
		}
		from.sent.Add(int64(size))
		to := n.route(from, netip.AddrFrom4([4]byte(packet[16:20])))
		if to == nil {
			continue
		}
		// A host whose interface is just made or gone does not take it, as in a real network.
		_, _ = to.tun.Write(packet[:size])
	}
}

// route returns who gets a packet; nil: nobody.
func (n *internet) route(from *host, addr netip.Addr) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.hosts[addr]
	switch {
	case to == nil:
		return nil
	case n.cut(from.addr, addr):
		n.stopped.Add(1)
		return nil
	case from.netns != "" && to.netns != "" && rand.Float64() < n.loss:
		n.lost.Add(1)
		return nil
	}
	n.passed.Add(1)
	return to
}

// set changes the lines: the share of packets that is lost between hosts that are not the test, and which lines are
// cut.
func (n *internet) set(loss float64, cut func(from, to netip.Addr) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss, n.cut = loss, cut
}

// command makes a command run on the host.
func (h *host) command(cmd *exec.Cmd) error {
	if h == nil || h.netns == "" {
		return nil
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + h.netns, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = nsenter
	return nil
}
