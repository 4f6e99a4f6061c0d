package dns

import "time"

const (
	recordTTL        = 5 // seconds; endpoints come and go, and asking again is cheap
	negativeTTL      = 5
	udpSizeMax       = 1232 // larger answers may be fragmented on the way
	udpSizeMin       = 512
	datagramBatch    = 32      // read or sent with one system call
	readBuffer       = 1 << 20 // bytes that the kernel may keep for a loop that is busy
	readPause        = 10 * time.Millisecond
	loopsMax         = 4
	packedMax        = 4096                    // answers that each loop remembers
	upstreamTimeout  = 1500 * time.Millisecond // of one question to one upstream
	upstreamPatience = 4 * time.Second         // of all together; clients give up after five
	failedFor        = 10 * time.Second        // how long an upstream that did not answer is asked last
	waitingMax       = 512                     // datagrams whose question is with an upstream at once
	streamsMax       = 512                     // TCP connections at once
	cacheEntries     = 4096
	cacheBytes       = 8 << 10 // larger answers are not kept
	cacheTTLMax      = 60 * time.Second
	cacheNegativeMax = 10 * time.Second
	idleTCP          = 10 * time.Second
	reportEvery      = 10 * time.Second
)
