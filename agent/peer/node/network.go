package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"google.golang.org/grpc/stats"

	"idlegrid/jobs"
)

// DefaultPort is the one TCP and UDP port of agents and coordinators where nothing else is said. It is not
// 7946, which other users of memberlist have.
const DefaultPort = 7745

// Network is what a peer talks over. Tests put one in memory here.
type Network struct {
	Listener net.Listener
	Packets  net.PacketConn
	Dial     func(ctx context.Context, address string) (net.Conn, error) // nil: TCP
	Calls    stats.Handler                                               // told of each call that the peer makes; nil: nobody
}

// portTries bounds the search for a port that is free for both TCP and UDP.
const portTries = 20

// Listen opens TCP and UDP on one port. Port 0 lets the system choose.
func Listen(address string) (Network, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Network{}, jobs.WithHint(jobs.Errorf(jobs.Invalid, "listen address %q: %w", address, err),
			"expected host:port, such as 127.0.0.1:0 or :%d", DefaultPort)
	}
	for try := 1; ; try++ {
		n, err := listenOnce(host, port)
		if err == nil || port != "0" || try == portTries {
			return n, err
		}
	}
}

func listenOnce(host, port string) (Network, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return Network{}, taken(err, host, port)
	}
	same := strconv.Itoa(l.Addr().(*net.TCPAddr).Port) // net.Listen("tcp") gives no other type
	packets, err := net.ListenPacket("udp", net.JoinHostPort(host, same))
	if err != nil {
		return Network{}, errors.Join(taken(err, host, same), l.Close())
	}
	return Network{Listener: l, Packets: packets}, nil
}

func taken(err error, host, port string) error {
	return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "listen on %s: %w", net.JoinHostPort(host, port), err),
		"another program may have the port; name another with --listen")
}

// local returns where this machine reaches a listener. One on every interface, of IPv6 as well, is on IPv4's loopback.
func local(listener net.Addr) string {
	a, err := netip.ParseAddrPort(listener.String())
	if err != nil || !a.Addr().IsUnspecified() {
		return listener.String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
}

// advertised returns the address that others reach this peer at. For one that listens on every interface it
// is the interface that leads to the first of the peers; no packet is sent to find that out.
func advertised(n Network, advertise string, peers []string) (netip.AddrPort, error) {
	if advertise != "" {
		a, err := netip.ParseAddrPort(advertise)
		if err != nil {
			return a, jobs.WithHint(jobs.Errorf(jobs.Invalid, "advertised address %q: %w", advertise, err),
				"expected IP:port as others reach this machine, such as 10.1.2.3:%d", DefaultPort)
		}
		return a, nil
	}
	a, err := netip.ParseAddrPort(n.Listener.Addr().String())
	if err != nil {
		return a, fmt.Errorf("own address: %w", err)
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if !a.Addr().IsUnspecified() {
		return a, nil
	}
	for _, p := range peers {
		conn, err := net.Dial("udp", p)
		if err != nil {
			continue
		}
		local, err := netip.ParseAddrPort(conn.LocalAddr().String())
		if err := errors.Join(err, conn.Close()); err == nil {
			return netip.AddrPortFrom(local.Addr().Unmap(), a.Port()), nil
		}
	}
	if ip, ok := onlyAddress(); ok {
		return netip.AddrPortFrom(ip, a.Port()), nil
	}
	return a, jobs.WithHint(jobs.Errorf(jobs.Invalid, "listening on every interface, and this machine has not just one address"),
		"name the address that others reach this machine at with --advertise IP:port, or one to listen on with --listen")
}

// onlyAddress returns the one address that others may reach this machine at, IPv4 first, if there is just one.
func onlyAddress() (netip.Addr, bool) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, false
	}
	var v4, v6 []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if ip := prefix.Addr().Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	switch {
	case len(v4) == 1:
		return v4[0], true
	case len(v4) == 0 && len(v6) == 1:
		return v6[0], true
	}
	return netip.Addr{}, false
}
