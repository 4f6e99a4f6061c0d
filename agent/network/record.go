package network

import (
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// record is one line of the address log: an address was given to a pod, or released (pod is "").
// Each line carries its own checksum, so that a line cut short by a crash is known for what it is.
type record struct {
	addr netip.Addr
	pod  string
}

func (r record) String() string {
	body := "release " + r.addr.String()
	if r.pod != "" {
		body = "assign " + r.addr.String() + " " + r.pod
	}
	return fmt.Sprintf("%s %08x\n", body, crc32.ChecksumIEEE([]byte(body)))
}

// parseRecord reads a line without its newline.
func parseRecord(line string) (record, bool) {
	cut := strings.LastIndexByte(line, ' ')
	if cut < 0 {
		return record{}, false
	}
	body := line[:cut]
	if sum, err := strconv.ParseUint(line[cut+1:], 16, 32); err != nil || uint32(sum) != crc32.ChecksumIEEE([]byte(body)) {
		return record{}, false
	}
	words := strings.Split(body, " ")
	if len(words) < 2 {
		return record{}, false
	}
	addr, err := netip.ParseAddr(words[1])
	if err != nil {
		return record{}, false
	}
	switch {
	case words[0] == "assign" && len(words) == 3 && words[2] != "":
		return record{addr: addr, pod: words[2]}, true
	case words[0] == "release" && len(words) == 2:
		return record{addr: addr}, true
	}
	return record{}, false
}

// parseLog reads a whole log. damaged counts lines that are no records; a last line without its
// newline is one of them, for it may be half of a longer one.
func parseLog(text string) (records []record, damaged int) {
	for text != "" {
		line, rest, whole := strings.Cut(text, "\n")
		r, ok := parseRecord(line)
		if ok && whole {
			records = append(records, r)
		} else {
			damaged++
		}
		text = rest
	}
	return records, damaged
}
