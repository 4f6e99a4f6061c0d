package dns

import "time"

const (
	recordTTL        = 5 // seconds; endpoints come and go, and asking again is cheap
	negativeTTL      = 5
	udpSizeMax       = 1232 // larger answers may be fragmented on the way
	udpSizeMin       = 512
	upstreamTimeout  = 1500 * time.Millisecond // of one question to one upstream
	upstreamPatience = 4 * time.Second         // of all together; clients give up after five
	upstreamsMax     = 512                     // questions under way at once
	cacheEntries     = 4096
	cacheTTLMax      = 60 * time.Second
	cacheNegativeMax = 10 * time.Second
	idleTCP          = 10 * time.Second
)
