"""The playground: `scorefield play`, a page in which the score field moves, and its numbers are the library's.

plans     any solver's plan written down as numbers
shown     what the page offers: schedules, plans
export    the page as one file that works without a server
server    the page served to its own machine (extra `play`)
models    what the page may ask of a trained model of pictures, and the answers; `pictures` as bytes
wire      the WebSocket's messages and where they are taken; `websocket` is RFC 6455, `worker` the thread that computes
page/     the page itself, plain ES modules: `exact.js` is the library in 300 lines, held to it by tests/play
"""
