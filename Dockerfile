# An image for CUDA: the wheels of torch bring the CUDA libraries; the host needs the NVIDIA Container Toolkit.
#
#   docker build -t ted .
#   docker run --rm --gpus all -v "$PWD:/data" ted extract walk.mp4 --weights dinov2=weights/dinov2
#
# It is not built by .ci/run, which needs no Docker.
FROM python:3.12-slim
WORKDIR /src
COPY . .
RUN python -m pip install --no-cache-dir -c constraints.txt '.[plots]' && rm -rf /src
WORKDIR /data
ENTRYPOINT ["ted"]
