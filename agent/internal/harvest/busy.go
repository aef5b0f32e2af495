package harvest

import (
	"slices"
	"time"
)

const (
	// sampleEvery is how long a Sample is, and maxSamples how many there are: a day's.
	sampleEvery = 10 * time.Minute
	maxSamples  = int(historyAge / sampleEvery)
	// maxGap is the longest time between two looks that counts: in a longer one the PC slept.
	maxGap = 5 * time.Second
)

// Sample is what a part of the last day's processor time was used for, in cores on average.
type Sample struct {
	From         time.Time
	Ours, Others float64
}

// busy averages what is seen of the processor. Like the decisions it is in memory only.
type busy struct {
	samples []Sample
	from    time.Time // of the sample that is being made
	last    time.Time // look
	seen    time.Duration
	others  float64 // core seconds
	ours    time.Duration
	own     time.Duration // CPU time of the agent and its units at the last look
}

// look takes what others use now, and the CPU time that we used so far.
func (b *busy) look(now time.Time, others float64, own time.Duration) {
	gap, used := now.Sub(b.last), own-b.own
	first := b.last.IsZero()
	b.last, b.own = now, own
	if from := now.Truncate(sampleEvery); !from.Equal(b.from) {
		b.end()
		b.from = from
	}
	if first || gap <= 0 || gap > maxGap || !(others >= 0) {
		return
	}
	b.seen += gap
	b.others += others * gap.Seconds()
	b.ours += max(0, used)
}

// end makes a sample of what was seen since the last.
func (b *busy) end() {
	if b.seen > 0 {
		s := Sample{From: b.from, Others: b.others / b.seen.Seconds(), Ours: b.ours.Seconds() / b.seen.Seconds()}
		b.samples = append(slices.Clone(b.samples[max(0, len(b.samples)+1-maxSamples):]), s)
	}
	b.seen, b.others, b.ours = 0, 0, 0
}
