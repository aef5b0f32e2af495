package steward

import (
	"errors"
	"time"

	"idlegrid/jobs"
)

// How leases live unless the operator says otherwise.
const (
	DefaultPeriod = 15 * time.Second
	DefaultTTL    = 60 * time.Second
)

const (
	// minPeriod keeps a wrong setting from making a pool talk all the time.
	minPeriod = time.Second
	// maxTTL bounds how long units wait for an agent that is gone.
	maxTTL = time.Hour
	// minPeriods is how many exchanges a lease must outlive: one may be lost, and one late.
	minPeriods = 3
)

// Lease says how leases live. What is zero has its default. All agents of a pool should have the same.
type Lease struct {
	Period time.Duration // how often a lessee speaks at least, and how long a new steward listens
	TTL    time.Duration // how long leases outlive their lessee's last word
}

// OrDefault fills in what is zero.
func (l Lease) OrDefault() Lease {
	if l.Period == 0 {
		l.Period = DefaultPeriod
	}
	if l.TTL == 0 {
		l.TTL = DefaultTTL
	}
	return l
}

// Validate names everything that is wrong with the settings, defaults filled in.
func (l Lease) Validate() error {
	l = l.OrDefault()
	var err error
	if l.Period < minPeriod {
		err = errors.Join(err, jobs.Errorf(jobs.Invalid, "lease period of %s, expected at least %s", l.Period, minPeriod))
	}
	if l.TTL > maxTTL {
		err = errors.Join(err, jobs.Errorf(jobs.Invalid, "lease time to live of %s, expected at most %s", l.TTL, maxTTL))
	}
	if l.TTL < minPeriods*l.Period {
		err = errors.Join(err, jobs.Errorf(jobs.Invalid, "lease time to live of %s, expected at least %d periods of %s", l.TTL, minPeriods, l.Period))
	}
	return err
}
