package sched

// A heap of keys has the biggest first.

func heapify(h []uint64) {
	for i := len(h)/2 - 1; i >= 0; i-- {
		siftDown(h, i)
	}
}

// push adds a key.
func push(h []uint64, key uint64) []uint64 {
	h = append(h, key)
	i := len(h) - 1
	for i > 0 && h[(i-1)/2] < key {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = key
	return h
}

// fixTop replaces the biggest key, or drops it if the new one is 0.
func fixTop(h []uint64, key uint64) []uint64 {
	if key == 0 {
		h[0] = h[len(h)-1]
		h = h[:len(h)-1]
	} else {
		h[0] = key
	}
	if len(h) > 0 {
		siftDown(h, 0)
	}
	return h
}

func siftDown(h []uint64, i int) {
	v := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1] > h[c] {
			c++
		}
		if h[c] <= v {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = v
}

// siftDownSmall is the same for a heap that has the smallest first.
func siftDownSmall(h []uint64, i int) {
	v := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1] < h[c] {
			c++
		}
		if h[c] >= v {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = v
}
