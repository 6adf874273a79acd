#!/bin/sh
# Makes the speech samples: espeak-ng speaks each sentence, sox trims it, sets the pauses and resamples to 16 kHz.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# make NAME VOICE WORDS_PER_MINUTE SENTENCE…
make() {
    name=$1 voice=$2 speed=$3
    shift 3
    number=0
    for sentence in "$@"; do
        number=$((number + 1))
        espeak-ng -v "$voice" -s "$speed" -w "$work/spoken.wav" "$sentence"
        sox -D "$work/spoken.wav" -r 16000 -b 16 "$work/$name-$number.wav" \
            gain -h silence 1 0.02 0.5% reverse silence 1 0.02 0.5% reverse pad 0.05 1.35
    done
    sox -D "$work/$name"-*.wav -r 16000 -c 1 -b 16 -e signed-integer "$name.wav" reverse trim 0.9 reverse pad 0.2 0
}

make en en-us 165 "Good morning, and welcome." "Today we speak about the weather." "Let us go for a walk."
make zh cmn 190 "今天天气很好。" "我们一起去公园散步。"
