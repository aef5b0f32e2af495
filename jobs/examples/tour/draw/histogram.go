package draw

import (
	"math"
	"slices"
)

// histogram draws how long the tours are that were found: a bar is a range of lengths, its height how many. The
// last bar has all that are longer: a few bad tries must not squeeze the others into one corner.
func (p *painter) histogram(b box) {
	const bars = 26
	lengths := slices.Sorted(slices.Values(p.Lengths))
	shortest, median := lengths[0], lengths[len(lengths)/2]
	step := max(5*(median-shortest), 1) / bars
	counts := make([]int, bars)
	for _, km := range lengths {
		counts[int(min((km-shortest)/step, bars-1))]++
	}
	p.write("Lengths of all tours found", spot{b.left, b.top - 14}, 0, pen{p.pens.small, dimInk})
	p.fill(box{b.left, b.bottom, b.right, b.bottom + 1}, frameInk)
	width := (b.right - b.left) / bars
	for i, count := range counts {
		height := math.Ceil(float64(count) / float64(slices.Max(counts)) * (b.bottom - b.top))
		left := b.left + float64(i)*width
		ink := dimInk
		if i == 0 {
			ink = p.gradient.at(1) // the best is here
		}
		p.fill(box{left + 1, b.bottom - height, left + width - 1, b.bottom}, ink)
	}
	p.write(Thousands(shortest), spot{b.left, b.bottom + 18}, 0, pen{p.pens.small, p.gradient.at(1)})
	p.write(Thousands(shortest+(bars-1)*step)+" km and more", spot{b.right, b.bottom + 18}, 1, pen{p.pens.small, dimInk})
}
