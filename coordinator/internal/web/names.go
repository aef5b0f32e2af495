package web

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"idlegrid/jobs"
)

// Settings say where the page is and how it is secured.
type Settings struct {
	Address string // host:port to listen at; empty: there is no page
	URL     string // how browsers reach it, such as through a proxy; empty: by Address
	// Cert and Key are PEM files, both or none. None away from loopback: the coordinator makes a certificate itself.
	Cert, Key string
}

// Check returns what is wrong with the settings, by the names of their flags.
func (s Settings) Check() error {
	switch {
	case s.Address == "" && (s.URL != "" || s.Cert != "" || s.Key != ""):
		return jobs.Errorf(jobs.Invalid, "--page-url, --page-cert and --page-key are of a page, and --page is not given")
	case (s.Cert == "") != (s.Key == ""):
		return jobs.Errorf(jobs.Invalid, "--page-cert and --page-key go together")
	case s.Address == "":
		return nil
	}
	if _, _, err := net.SplitHostPort(s.Address); err != nil {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "--page %.80q: expected host:port", s.Address), "for browsers on this machine alone: --page 127.0.0.1:7746")
	}
	if s.URL == "" {
		return nil
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return jobs.Errorf(jobs.Invalid, "--page-url %.80q: expected such as https://grid.example", s.URL)
	}
	return nil
}

// names are how browsers reach the page.
type names struct {
	base     string   // such as https://grid.example
	secure   bool     // base is https
	tls      bool     // the page speaks TLS itself
	loopback bool     // it listens on loopback
	hosts    []string // that requests may name, with the port where it is not the scheme's own
	certify  []string // DNS names and IP addresses for a certificate
}

func namesOf(s Settings, at netip.AddrPort, own netip.Addr) (names, error) {
	host, _, err := net.SplitHostPort(s.Address)
	if err != nil {
		return names{}, err
	}
	n := names{loopback: at.Addr().Unmap().IsLoopback()}
	n.tls = !n.loopback || s.Cert != ""
	scheme := "http"
	if n.tls {
		scheme = "https"
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = own.Unmap().WithZone("").String()
	}
	n.certify = []string{host}
	if name, err := os.Hostname(); err == nil && !n.loopback {
		n.certify = append(n.certify, strings.ToLower(name))
	}
	for _, name := range n.certify {
		n.hosts = append(n.hosts, hostOf(scheme, name, at.Port()))
	}
	n.base = scheme + "://" + n.hosts[0]
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil {
			return names{}, err
		}
		scheme, n.base = u.Scheme, u.Scheme+"://"+strings.ToLower(u.Host)
		n.hosts, n.certify = append(n.hosts, strings.ToLower(u.Host)), append(n.certify, strings.ToLower(u.Hostname()))
	}
	n.secure = scheme == "https"
	slices.Sort(n.certify)
	n.certify = slices.Compact(n.certify)
	return n, nil
}

// hostOf is how a browser names a host and port.
func hostOf(scheme, host string, port uint16) string {
	if scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// allows reports whether a request may name a host. On loopback its own names may have any port, such as that of an
// ssh tunnel: no other site has them.
func (n names) allows(host string) bool {
	host = strings.ToLower(host)
	if slices.Contains(n.hosts, host) {
		return true
	}
	u, err := url.Parse("//" + host)
	if err != nil || !n.loopback {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}
