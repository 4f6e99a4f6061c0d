package wire

// Methods that a node calls on another node, for the layers of images.
const (
	// MethodLayerAsk asks the keeper of a digest where its blob is (request LayerAsk, reply LayerWhere).
	MethodLayerAsk = "node.LayerAsk"
	// MethodLayerDone tells the keeper how a fetch ended (request LayerDone, reply Empty).
	MethodLayerDone = "node.LayerDone"
	// MethodLayer gives a blob as a bare stream of bytes from an offset on (request LayerFetch). It ends early if the
	// giver's own fetch fails; the asker knows the size and verifies the digest.
	MethodLayer = "node.Layer"
)

// LayerAsk announces that the caller is about to fetch a blob. Failed is a node that could not give it; "" is none.
type LayerAsk struct{ Digest, Failed string }

// LayerWhere names a node that has the blob or is fetching it; "" sends the caller to the registry.
type LayerWhere struct{ Node string }

// LayerDone says whether the caller has the blob now.
type LayerDone struct {
	Digest string
	Here   bool
}

// LayerFetch asks for a blob's bytes.
type LayerFetch struct {
	Digest string
	Offset int64
}
